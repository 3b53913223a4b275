#!/usr/bin/env python3
"""Runs or resumes a study."""

import sys

from recipekit.console import plain_errors
from recipekit.studies.command import main

if __name__ == "__main__":
    with plain_errors():
        sys.exit(main(sys.argv[1:]))
