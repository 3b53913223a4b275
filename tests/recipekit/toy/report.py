"""Reports on the toy recipe."""

import sys

from recipe import RECIPE
from recipekit.console import plain_errors
from recipekit.reporting.report import make_report

if __name__ == "__main__":
    with plain_errors():
        print(make_report(RECIPE, sys.argv[1:-1], sys.argv[-1]))
