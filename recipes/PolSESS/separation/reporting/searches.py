"""What the ledgers of studies tell of their searches."""


def section(ledgers):
    """Returns the section of searches, or None without any."""
    return None
