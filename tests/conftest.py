"""Puts the recipes on the path, as running from their folders does."""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault(
    "HYPOTHESIS_STORAGE_DIRECTORY", os.path.join(tempfile.gettempdir(), "hypothesis")
)

import speechbrain  # noqa: E402, F401
from leftovers import pytest_sessionfinish, pytest_sessionstart  # noqa: E402, F401
from speechbrain.utils.importutils import LazyModule  # noqa: E402

# Hypothesis asks every module for its file, which makes SpeechBrain's lazy modules
# import what is not installed.
for name, module in list(sys.modules.items()):
    if isinstance(module, LazyModule):
        del sys.modules[name]

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPE = REPOSITORY / "recipes" / "PolSESS"
sys.path[:0] = [str(RECIPE / "separation"), str(RECIPE), str(REPOSITORY)]
# Scripts that tests start use the library of this checkout, whatever is installed.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
)
