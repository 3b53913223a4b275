"""The page in headless Chromium."""

from urllib.parse import unquote

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from recipekit.reporting.document import (
    Folded,
    Panels,
    Picture,
    Section,
    Sound,
    Table,
    Text,
)
from recipekit.reporting.page import FIRST_ROWS, write_page

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


def long_table(rows):
    words = [f"{'even' if row % 2 == 0 else 'odd'} {row}" for row in range(rows)]
    return pd.DataFrame({"number": range(rows), "word": words})


def shown(page):
    """Returns the first cells of the rows that are seen."""
    return page.locator("tbody tr:visible td:first-child").all_inner_texts()


def test_a_search_shows_the_rows_with_all_its_words(opened, tmp_path):
    table = Table("long", "Long", long_table(FIRST_ROWS + 20))
    page = opened(write_page([Section("one", "One", (table,))], tmp_path, "T"))
    assert shown(page) == [str(row) for row in range(FIRST_ROWS)]
    page.get_by_role("button", name="number").click()
    page.get_by_role("button", name="number").click()
    assert shown(page)[0] == str(FIRST_ROWS + 19) and len(shown(page)) == FIRST_ROWS
    box = page.get_by_role("searchbox")
    box.fill("3 ODD")  # among those beyond the first, too
    assert shown(page) == ["31", "23", "13", "3"]
    box.fill("")
    assert len(shown(page)) == FIRST_ROWS + 20


def test_a_short_table_has_no_search_and_a_long_one_is_shown_by_a_click(
    opened, tmp_path
):
    tables = Table("short", "S", long_table(8)), Table("long", "L", long_table(40))
    page = opened(write_page([Section("one", "One", tables)], tmp_path, "T"))
    assert page.get_by_role("searchbox").count() == 1
    page.get_by_role("button", name="Show all 40 rows").click()
    assert len(shown(page)) == 8 + 40
    # Nothing scrolls in a box from top to bottom.
    boxes = "[...document.querySelectorAll('.wide')]"
    assert page.evaluate(f"{boxes}.every(b => b.scrollHeight <= b.clientHeight)")


def test_paths_are_links_relative_to_the_page(opened, tmp_path):
    record = tmp_path / "runs" / "a b"
    frame = pd.DataFrame({"record": [record, None]})
    folder = tmp_path / "out"
    sections = [Section("one", "One", (Table("t", "T", frame),))]
    page = opened(write_page(sections, folder, "T"))
    link = page.get_by_role("link", name="a b")
    assert link.evaluate("link => link.href") == record.as_uri()
    assert pd.read_csv(folder / "t.csv")["record"][0] == "../runs/a b"
    assert column(page, 0) == ["a b", "–"]


def line(width=3):
    figure = Figure(figsize=(width, 2))
    figure.subplots().plot([1, 2], label='a\'s "b" <c> & 5 %')
    figure.axes[0].legend()
    return figure


def test_equal_figures_are_equal_bytes(tmp_path):
    pages = []
    for name in "ab":
        sections = [Section("one", "One", (Picture("line", "L", line()),))]
        pages.append(write_page(sections, tmp_path / name, "T").read_bytes())
    assert pages[0] == pages[1]


def test_panels_stand_side_by_side_or_below_each_other(opened, tmp_path):
    panels = Panels("two", "Two", [line(), line()], {"first": "C0", "last": (1, 0, 0)})
    page = opened(write_page([Section("one", "One", (panels,))], tmp_path, "T"))
    tops = "[...document.querySelectorAll('.panels img')].map(i => i.offsetTop)"
    above, below = page.evaluate(tops)
    assert above < below
    page.set_viewport_size({"width": 1200, "height": 800})
    assert len(set(page.evaluate(tops))) == 1
    colors = "[...document.querySelectorAll('.legend i')].map(i => i.style.background)"
    assert page.evaluate(colors) == ["rgb(31, 119, 180)", "rgb(255, 0, 0)"]
    # Light texts of the page on a dark ground, and drawings turned alike.
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        style = "getComputedStyle(document.querySelector('img')).filter"
        assert (page.evaluate(style) == "none") == (scheme == "light")


def test_folded_blocks_open_by_a_click(opened, tmp_path):
    folded = Folded("More", (Text("Hidden at first."), Table("t", "T", TABLE)))
    page = opened(write_page([Section("one", "One", (folded,))], tmp_path, "T"))
    assert not page.get_by_text("Hidden at first.").is_visible()
    page.get_by_text("More").click()
    assert page.get_by_text("Hidden at first.").is_visible()
    assert (tmp_path / "t.csv").is_file()


def test_blocks_are_shown_and_nothing_in_them_is_run(opened, tmp_path):
    blocks = (
        Text("<script>document.title = 'broken'</script>"),
        Picture("line", "A line", line()),
        Picture("pixels", "Pixels", line(), raster=True),
        Sound("A tone", np.sin(np.arange(4000)) / 2, 8000),
    )
    path = write_page([Section("one", "One", blocks)], tmp_path, "<T>")
    page = opened(path)
    assert page.title() == "<T>"
    assert page.locator("p").inner_text() == blocks[0].text
    widths = "[...document.querySelectorAll('img')].map(i => i.naturalWidth)"
    assert page.evaluate(widths) == [3 * 96, 3 * 120]
    drawing, pixels = (
        image.get_attribute("src") for image in page.locator("img").all()
    )
    assert "a's 'b' &lt;c&gt; &amp; 5 %" in unquote(drawing)
    assert pixels.startswith("data:image/png;base64,iVBOR")
    assert [*tmp_path.iterdir()] == [path]
    page.wait_for_function("document.querySelector('audio').readyState > 0")
    assert page.evaluate("document.querySelector('audio').duration") == 0.5
    page.get_by_role("link", name="One").click()
    assert page.url.endswith("#one")
