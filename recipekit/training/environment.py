"""What a run ran on, for env.log: versions of everything, and the machine."""

import os
import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import torch

from recipekit.files.atomic import replacing


def write_environment(path):
    """Writes the packages of this very interpreter, the revision and the machine.

    SpeechBrain's own description asks the ``pip`` on the path, which may be that of
    another environment, and takes seconds.
    """
    packages = {
        f"{found.metadata['Name']}=={found.version}" for found in distributions()
    }
    devices = [
        torch.cuda.get_device_name(number)
        for number in range(torch.cuda.device_count())
    ]
    lines = [
        f"Command: {' '.join(sys.argv)}",
        f"Python: {sys.version}",
        f"Machine: {platform.platform()}, {os.cpu_count()} cores",
        f"CUDA: {torch.version.cuda if devices else 'none'} {', '.join(devices)}",
        f"Revision: {revision()}",
        "Packages:",
        *sorted(packages, key=str.lower),
    ]
    with replacing(path) as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace")


def revision():
    """Returns the git revision of the script that runs, with a mark if changed."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(
            command, cwd=Path(sys.argv[0]).parent, capture_output=True, text=True
        )
    except OSError:  # no git
        return "unknown"
    return done.stdout.strip() or "unknown"
