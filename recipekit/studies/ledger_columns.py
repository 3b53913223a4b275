"""What a ledger says of a trial: its columns, and what can become of it."""

FILE = "ledger.csv"
SPACES = "spaces.csv"  # beside it: the prior of each key that a stage searches
SPACES_COLUMNS = ("stage", "key", "prior")
PREFIX = "hp."  # of the columns of searched keys, which come last
FINISHED = ("completed", "failed")
STATUSES = (*FINISHED, "running", "waiting")

TEXT, NUMBER, TIME = "text", "number", "time"  # TIME: ISO 8601, UTC
COLUMNS = {
    "study": TEXT,
    "stage": TEXT,
    "algorithm": TEXT,
    "trial": TEXT,
    "run": TEXT,  # the folder in runs/
    "status": TEXT,
    "score": NUMBER,  # best monitored score, higher is better
    "epochs": NUMBER,  # asked for
    "best_epoch": NUMBER,
    "train_items": NUMBER,  # of an epoch; empty: all
    "seed": NUMBER,
    "items": NUMBER,  # training examples that the run has seen by the trial's end
    "new_items": NUMBER,  # those that this trial added
    "seconds": NUMBER,  # training time of the run by then
    "new_seconds": NUMBER,  # this trial's share
    "worker_seconds": NUMBER,  # how long a worker was occupied, start-up included
    "device": TEXT,
    "started": TIME,
    "ended": TIME,
    "failure": TEXT,
}


def columns_of(kind):
    """Returns the columns of a kind (TEXT, NUMBER or TIME), in their order."""
    return tuple(name for name, found in COLUMNS.items() if found == kind)
