"""Puts the recipes on the path, as running from their folders does."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPE = REPOSITORY / "recipes" / "PolSESS"
sys.path[:0] = [str(RECIPE / "separation"), str(RECIPE)]
