"""Files and processes: keyed draws, atomic writes, locks, workers."""
