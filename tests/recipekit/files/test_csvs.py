"""Tables are read as they are meant, or refused with what is wrong and what to do."""

import gzip

import pytest

from recipekit.files.csvs import read_rows, read_table

REMEDY = "Write it again"


@pytest.fixture
def write(tmp_path):
    """A function that writes bytes to a CSV and returns its path."""

    def run(content, name="table.csv"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return run


def test_a_table_has_its_columns_whatever_program_saved_it(write):
    text = "name,count\nżółw,3\n"
    for path in (
        write(text.encode()),
        write(text.encode("utf-8-sig")),
        write(gzip.compress(text.encode()), "table.csv.gz"),
    ):
        table = read_table(path, ["count"], REMEDY)
        assert table.to_dict("list") == {"name": ["żółw"], "count": [3]}
        assert list(read_table(path, ["count"], REMEDY, only=True)) == ["count"]
        assert read_table(path, [], REMEDY, dtype=str)["count"].item() == "3"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not a readable CSV .*Write it again"),
        (b"name\na\n", "lacks the columns count; found the columns name. Write it"),
        (b"name;count\na;1\n", "lacks the columns count; found the columns name;count"),
        (b"name,count\n", "has no rows. Write it again"),
        (b"name,count\na,1\nb\0,2\n", "line 3: holds a NUL byte"),
        (b"name,count\n\xb3,1\n", "line 2: expected UTF-8"),
        (b'name,count\n"a,1\n', "not a readable CSV .*Write it again"),
    ],
)
def test_what_is_wrong_is_named(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=f"{path}.*{message}"):
        read_table(path, ["count"], REMEDY)


def test_no_rows_where_there_may_be_none(write):
    path = write(b"name,count\n")
    assert read_table(path, ["count"], REMEDY, may_be_empty=True).empty


def test_rows_are_dicts_and_cells_too_many_are_named(write):
    path = write(b"name,count\na,1\nb,2\n")
    rows = [{"name": "a", "count": "1"}, {"name": "b", "count": "2"}]
    assert read_rows(path, ["name"], "name, count") == rows
    with pytest.raises(ValueError, match="lacks the columns role; found.*name, count"):
        read_rows(path, ["role"], "name, count")
    path = write(b"name,count\na,1\nb,2,3\n")
    with pytest.raises(ValueError, match="line 3: more cells than columns"):
        read_rows(path, ["name"], "name, count")
