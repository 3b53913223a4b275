"""Imitated downloads, and a cache of headers that is not the user's own."""

import pytest

from imitation import write_downloads


@pytest.fixture(scope="session", autouse=True)
def header_cache(tmp_path_factory):
    """Keeps headers that tests read out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLSESS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def downloads(tmp_path_factory):
    """Roots of trees of 0.02 s files that nobody may change."""
    return write_downloads(tmp_path_factory.mktemp("downloads"), 0.02)
