"""Training."""

from pathlib import Path

LOG_CONFIG = Path(__file__).with_name("log_config.yaml")
