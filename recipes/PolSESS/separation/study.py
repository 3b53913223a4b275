#!/usr/bin/env python3
"""Runs or resumes a study: searches and validations that depend on each other.

    python study.py sweeps/fast.yaml --data_folder /path/to/PolSESS --workers 2

The same command resumes it; started on several machines that share the database and the
folder, they work together. ``--key value`` overrides a setting of all trials.
"""

import sys

from recipe import RECIPE
from recipekit.console import plain_errors
from recipekit.studies import command


def main(arguments):
    """Runs, resumes, shows or explains a study."""
    command.main(arguments, RECIPE)


if __name__ == "__main__":
    with plain_errors():
        sys.exit(main(sys.argv[1:]))
