"""A short form of the script that kills training; ``make chaos`` runs the long one."""

import subprocess
import sys
from pathlib import Path

from tiny_run import environment

CHAOS = Path(__file__).with_name("chaos.py")


def test_runs_killed_at_random_end_like_uninterrupted_ones():
    done = subprocess.run(
        [sys.executable, str(CHAOS), "--kills", "3"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.splitlines()[-1].endswith("0 differences")
