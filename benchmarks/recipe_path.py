"""Puts the recipe's folders on the path of the benchmarks."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPE = REPOSITORY / "recipes" / "PolSESS"
sys.path[:0] = [str(REPOSITORY), str(RECIPE), str(RECIPE / "separation")]
