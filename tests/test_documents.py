"""Links of the documents lead somewhere, and the page of a task stays a page."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = ". docs recipes/* recipes/*/* recipes/*/*/docs recipes/*/*/sweeps".split()
DOCUMENTS = [
    path.relative_to(REPOSITORY).as_posix()
    for folder in FOLDERS
    for path in sorted(REPOSITORY.glob(f"{folder}/*.md"))
]
PAGES = [path for path in DOCUMENTS if re.fullmatch(r"recipes/\w+/\w+/README.md", path)]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)")
PAGE = 900  # words


def anchors(path):
    """Returns the names that GitHub gives to a document's headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", path.read_text(encoding="utf-8"))
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def broken_links(path):
    """Returns the links of a document that lead nowhere."""
    broken = []
    for file, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        target = path.parent / file if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{file}#{anchor}")
    return broken


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    assert broken_links(REPOSITORY / document) == []


def test_broken_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    links = "[a](gone.md) [b](#one--two) [c](#three) [d](page.md)"
    page.write_text(f"# One & two\n{links}\n", encoding="utf-8")
    assert broken_links(page) == ["gone.md#", "#three"]


@pytest.mark.parametrize("page", PAGES)
def test_the_page_of_a_task_is_one_page(page):
    assert len((REPOSITORY / page).read_text(encoding="utf-8").split()) <= PAGE
