"""Reports of runs and studies: what was measured, and what it allows to say."""
