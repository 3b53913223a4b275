"""A test session that leaves files in the repository fails."""

import shutil
import subprocess
import sys

import leftovers
import pytest


@pytest.mark.parametrize(
    "name, code", [("orion.pkl", 1), ("ignored/x", 0), ("results/empty/", 1)]
)
def test_new_files_fail_the_session(tmp_path, name, code):
    tests = tmp_path / "tests"
    tests.mkdir()
    shutil.copy(leftovers.__file__, tests)
    (tests / "conftest.py").write_text("from leftovers import *\n")
    make = "mkdir" if name.endswith("/") else "touch"
    (tests / "test_one.py").write_text(
        "from pathlib import Path\n\ndef test_one():\n"
        f"    path = Path({str(tmp_path)!r}, {name!r})\n"
        f"    path.parent.mkdir(exist_ok=True)\n    path.{make}()\n"
    )
    (tmp_path / ".gitignore").write_text("ignored/\n__pycache__/\n")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", tests],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout
    new = "results/" if name[-1] == "/" else name
    assert (f"New files in the repository: {new}" in done.stdout) == bool(code)
