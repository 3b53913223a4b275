"""Freed memory stays with the process, or goes back to the kernel as by default."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from recipekit.training import allocator

SCRIPT = """
import ctypes, re, sys
from recipekit.training import allocator
allocator.keep_freed_memory(sys.argv[1] == "keep")
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
block = libc.malloc(200 << 20)
ctypes.memset(block, 1, 200 << 20)
libc.free(block)
print(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_kept():
    resident = {}
    for mode in ("keep", "default"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, mode],
            cwd=Path(allocator.__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
        resident[mode] = int(done.stdout)  # KiB
    assert resident["keep"] - resident["default"] > 190 << 10
