"""Bare ``make`` explains and installs nothing."""

import re
import shutil
import subprocess

from leftovers import REPOSITORY


def test_bare_make_names_every_target_and_runs_nothing(tmp_path):
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    done = subprocess.run(["make"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"\.PHONY: (.*)", text)[1].split()
    shown = re.findall(r"^ +(\w+) +\S", done.stdout, re.MULTILINE)
    assert shown == targets and "5 GB" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]
