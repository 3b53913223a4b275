"""Reads CSV files that people make, or says what is wrong with them, and where."""

import csv
from pathlib import Path


def check_text(path):
    """Raises ValueError if a file is not text in UTF-8 without NUL bytes.

    NUL bytes are what a full disk or a copy that was cut short leaves; pandas would
    read on as if they were not there.

    Arguments
    ---------
    path : str or Path
    """
    content = Path(path).read_bytes()
    place = content.find(b"\0")
    what = "holds a NUL byte"
    if place < 0:
        try:
            content.decode("utf-8")
            return
        except UnicodeDecodeError as error:
            place, what = error.start, f"expected UTF-8 text ({error})"
    line = content.count(b"\n", 0, place) + 1
    raise ValueError(f"{path}, line {line}: {what}. Save or copy it again")


def read_rows(path, needed, meant):
    """Returns the rows of a CSV as a list of dict, of which the first is in line 2.

    Arguments
    ---------
    path : str or Path
    needed : sequence of str
        Columns that must be there.
    meant : str
        For errors: the columns that were expected.

    Raises
    ------
    ValueError
        Naming the file, and the line where there is one.
    """
    check_text(path)
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        try:
            columns, rows = list(reader.fieldnames or ()), list(reader)
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    missing = [name for name in needed if name not in columns]
    if missing:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}. Expected the columns {meant}, "
            f"separated by commas; found the columns {columns}"
        )
    if not rows:
        raise ValueError(f"{path}: has no rows. Expected one recording per row")
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise ValueError(
                f"{path}, line {number}: more cells than columns. A cell that holds a "
                "comma needs quotes"
            )
    return rows
