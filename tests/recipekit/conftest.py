"""Runs of a recipe of its own, for tests of the library alone."""

import pytest
from words import write_run


@pytest.fixture
def runs(tmp_path):
    """Two settings of two seeds, of which one tells more words."""
    for seed in (1, 2):
        write_run(tmp_path / "runs" / f"slow{seed}", seed, 0.001, 0.5)
        write_run(tmp_path / "runs" / f"fast{seed}", seed, 0.01, 0.7)
    return tmp_path / "runs"
