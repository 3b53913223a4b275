"""What can become of a trial, as ledgers name it."""

FINISHED = ("completed", "failed")
STATUSES = (*FINISHED, "running", "waiting")
