"""A tiny sound corpus for each test, and how it is prepared."""

import json
import shutil
from pathlib import Path

import pytest
from speechbrain.dataio.dataio import load_data_csv

from polsess_prepare import prepare_polsess
from tiny_corpus import write_corpus


@pytest.fixture(scope="session")
def sound_corpus(tmp_path_factory):
    """A corpus that nobody may change."""
    return write_corpus(tmp_path_factory.mktemp("sound") / "tiny")


@pytest.fixture
def corpus(sound_corpus, tmp_path):
    """A copy of it for one test."""
    return Path(shutil.copytree(sound_corpus, tmp_path / "tiny"))


@pytest.fixture
def manifests(tmp_path):
    """Where the test's manifests go."""
    return tmp_path / "manifests"


@pytest.fixture
def read_audit(manifests):
    """A function that reads the audit of the manifests."""
    return lambda: json.loads((manifests / "audit.json").read_text("utf-8"))


@pytest.fixture
def prepare(corpus, manifests, read_audit):
    """A function that prepares the corpus and returns its audit."""

    def run(**settings):
        prepare_polsess(corpus, manifests, **settings)
        return read_audit()

    return run


@pytest.fixture
def load(corpus, manifests):
    """A function that loads a subset's manifest as a list of rows."""

    def run(subset):
        path = manifests / f"{subset}.csv"
        return list(load_data_csv(path, {"data_root": corpus}).values())

    return run
