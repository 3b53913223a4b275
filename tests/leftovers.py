"""Fails a test session that leaves new files in the repository."""

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def untracked():
    """Returns the files that git neither knows nor ignores; none outside of git.

    Also the folders at the root, which git does not see when they are empty.
    """
    command = ["git", "ls-files", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    folders = [f"{path.name}/" for path in REPOSITORY.iterdir() if path.is_dir()]
    command = ["git", "check-ignore", *folders]
    ignored = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    return set(done.stdout.splitlines()) | set(folders) - {
        "__pycache__/",
        *ignored.stdout.splitlines(),
    }


def pytest_sessionstart(session):
    """Notes what is there before the tests run."""
    if not hasattr(session.config, "workerinput"):  # of pytest-xdist
        session.config.untracked_before = untracked()


def pytest_sessionfinish(session):
    """Fails the session if there is more now."""
    if hasattr(session.config, "workerinput"):
        return
    if new := untracked() - session.config.untracked_before:
        print(f"\nNew files in the repository: {', '.join(sorted(new))}")
        session.exitstatus = 1
