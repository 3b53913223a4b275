"""Puts the recipe's folders on the path of the benchmarks."""

import sys
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "PolSESS"
sys.path[:0] = [str(RECIPE), str(RECIPE / "separation")]
