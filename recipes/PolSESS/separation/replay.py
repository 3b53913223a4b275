#!/usr/bin/env python3
r"""Repeats studies on a table of learning curves, a thousand times in minutes.

python replay.py run results/learning_curves/curves.csv sweeps/three_stage.yaml \
    sweeps/fast.yaml --scale sweeps/scales/two_cores.yaml --out replayed
"""

import sys

from recipekit.console import plain_errors

if __name__ == "__main__":
    with plain_errors():
        from recipe import RECIPE
        from recipekit.reporting.replays import main

        sys.exit(main(sys.argv[1:], RECIPE))
