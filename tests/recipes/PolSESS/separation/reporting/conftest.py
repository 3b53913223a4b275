"""Headless Chromium for tests of pages."""

from browser import browser, opened  # noqa: F401
