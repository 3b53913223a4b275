"""Searches the toy recipe."""

import sys

from recipe import RECIPE
from recipekit.console import plain_errors
from recipekit.studies import command

if __name__ == "__main__":
    with plain_errors():
        sys.exit(command.main(sys.argv[1:], RECIPE))
