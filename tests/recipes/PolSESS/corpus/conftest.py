"""Keeps the caches of headers that tests make out of the user's own."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def header_cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLSESS_CACHE", str(folder))
        yield folder
