"""What every recipe shares: files, training, scoring, studies and reports."""

__version__ = "0.5.0"
