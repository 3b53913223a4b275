"""Headless Chromium, to look at pages as a reader does."""

import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens a page; fails on errors and on requests beyond the file itself."""
    troubles = []
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))

    def go(path):
        allowed = (path.resolve().as_uri(), "data:")
        page.on(
            "request",
            lambda request: (
                request.url.startswith(allowed) or troubles.append(request.url)
            ),
        )
        page.goto(path.resolve().as_uri())
        return page

    yield go
    page.close()
    assert not troubles
