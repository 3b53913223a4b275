"""Prints the table of a run's test: python -m scoring.evaluation RUN."""

import sys

from recipe import MEASURES
from recipekit.console import plain_errors
from recipekit.scoring.summary import print_table

if __name__ == "__main__":
    with plain_errors():
        print_table(sys.argv[1:], MEASURES)
