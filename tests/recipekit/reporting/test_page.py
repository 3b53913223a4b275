"""The page in headless Chromium."""

import base64

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from recipekit.reporting.document import Picture, Section, Sound, Table, Text
from recipekit.reporting.page import write_page

TABLE = pd.DataFrame(
    {
        "word": ["b <i>", "a", "c10", "c9"],
        "number": [-2.5, np.nan, -10.0, 9.0],
        "count": [3, 1, -2, 4],
    }
)


def column(page, number):
    """Returns the shown cells of a column of the first table."""
    return page.locator(f"tbody tr td:nth-child({number + 1})").all_inner_texts()


def test_tables_sort_by_a_click_on_a_heading(opened, tmp_path):
    table = Table("numbers", "Numbers", TABLE, decimals=1)
    path = write_page([Section("one", "One", (table,))], tmp_path, "T")
    page = opened(path)
    heading = page.get_by_role("button", name="number")
    heading.click()
    assert column(page, 1) == ["−10.0", "−2.5", "9.0", "–"]
    assert column(page, 0) == ["c10", "b <i>", "c9", "a"]  # rows stay whole
    heading.click()
    assert column(page, 1) == ["9.0", "−2.5", "−10.0", "–"]
    page.get_by_role("button", name="count").click()
    assert column(page, 2) == ["−2", "1", "3", "4"]
    page.get_by_role("button", name="word").click()
    assert column(page, 0) == ["a", "b <i>", "c9", "c10"]
    assert pd.read_csv(tmp_path / "numbers.csv").equals(TABLE)


def test_blocks_are_shown_and_nothing_in_them_is_run(opened, tmp_path):
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([1, 2])
    blocks = (
        Text("<script>document.title = 'broken'</script>"),
        Picture("line", "A line", figure),
        Sound("A tone", np.sin(np.arange(4000)) / 2, 8000),
    )
    path = write_page([Section("one", "One", blocks)], tmp_path, "<T>")
    page = opened(path)
    assert page.title() == "<T>"
    assert page.locator("p").inner_text() == blocks[0].text
    assert page.evaluate("document.querySelector('img').naturalWidth") == 360
    picture = page.locator("img").get_attribute("src")
    content = base64.b64decode(picture.removeprefix("data:image/png;base64,"))
    assert content.startswith(b"\x89PNG")
    assert [*tmp_path.iterdir()] == [path]
    page.wait_for_function("document.querySelector('audio').readyState > 0")
    assert page.evaluate("document.querySelector('audio').duration") == 0.5
    page.get_by_role("link", name="One").click()
    assert page.url.endswith("#one")
