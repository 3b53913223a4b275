"""Draws several learning curves in one: python -m reporting.curves RUNS --out PNG."""

import sys

from recipe import MEASURES
from recipekit.console import plain_errors
from recipekit.reporting.learning_curve import draw_overlay

if __name__ == "__main__":
    with plain_errors():
        draw_overlay(sys.argv[1:], MEASURES)
