"""What a run tells Oríon: minus the best validation score, whatever happens.

Under ``orion hunt`` the environment names a file for the results. A trial that dies
without reporting would stall the search's algorithm, so a failure reports a finite bad
value with the reason; only Ctrl-C leaves the trial to be taken up again.
"""

import json
import os
import sys
import traceback
from contextlib import contextmanager

from recipekit.console import plain_errors
from recipekit.files.atomic import replacing
from recipekit.files.workers import die_with_parent

RESULTS_VARIABLE = "ORION_RESULTS_PATH"
INTERRUPT_VARIABLE = "ORION_INTERRUPT_CODE"
FAILED_OBJECTIVE = 100.0  # far worse than any model, in dB or in nats


def is_trial():
    """Returns whether this process is a trial of ``orion hunt``."""
    return RESULTS_VARIABLE in os.environ


def result(name, value):
    """Returns a result in Oríon's form; all but the objective are statistics."""
    kind = "objective" if name == "objective" else "statistic"
    return {"name": name, "type": kind, "value": value}


def report(objective, statistics):
    """Reports a result to Oríon; without Oríon, does nothing.

    Arguments
    ---------
    objective : float
        To be minimised: minus the score.
    statistics : dict
        What is to be kept with the trial.
    """
    if not is_trial() or os.environ.get("RANK", "0") != "0":
        return
    results = [result("objective", objective)]
    results += [result(name, value) for name, value in statistics.items()]
    with replacing(os.environ[RESULTS_VARIABLE]) as path:
        path.write_text(json.dumps(results), encoding="utf-8")


@contextmanager
def reported_failures():
    """Turns exceptions of a trial into reports; a worker's script dies with it.

    Without Oríon this is ``plain_errors``.
    """
    if INTERRUPT_VARIABLE in os.environ:  # else a killed worker would leave an orphan
        die_with_parent(os.getppid())
    with plain_errors():
        try:
            yield
        except KeyboardInterrupt:
            if INTERRUPT_VARIABLE not in os.environ:
                raise
            sys.exit(int(os.environ[INTERRUPT_VARIABLE]))
        except Exception as error:
            if not is_trial():
                raise
            traceback.print_exc()
            report(FAILED_OBJECTIVE, {"failure": f"{type(error).__name__}: {error}"})
