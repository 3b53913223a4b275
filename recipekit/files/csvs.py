"""Reads CSV files, or says which line or column of them is wrong."""

import csv
import gzip
from pathlib import Path

import pandas as pd

ENCODING = "utf-8-sig"  # UTF-8, with or without the mark that spreadsheets put first


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


def check_columns(path, found, needed, remedy):
    """Raises ValueError if a table lacks columns.

    Arguments
    ---------
    path : str or Path
        For the message.
    found, needed : sequence of str
        Columns.
    remedy : str
        What to do, one or more sentences without the last full stop.
    """
    missing = [name for name in needed if name not in found]
    if missing:
        raise ValueError(
            f"{path}: lacks the columns {', '.join(missing)}; found the columns "
            f"{', '.join(found) or '(none)'}. {remedy}"
        )


def read_table(path, columns, remedy, only=False, may_be_empty=False, **options):
    """Reads a CSV as a table that has certain columns.

    Arguments
    ---------
    path : str or Path
        UTF-8 text, or such a text in a ``.gz``.
    columns : sequence of str
        Those that must be there.
    remedy : str
        For errors: what to do, one or more sentences without the last full stop.
    only : bool
        Leave out all other columns.
    may_be_empty : bool
        Whether there may be no rows.
    **options
        Of pandas.read_csv, such as ``dtype``.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    ValueError
        Naming the file, the line or columns, and the remedy.
    """
    if Path(path).suffix != ".gz":
        check_text(path)
    if only:
        options["usecols"] = lambda name: name in columns
    try:
        found = pd.read_csv(path, nrows=0, encoding=ENCODING).columns
        table = pd.read_csv(path, encoding=ENCODING, **options)
    except (ValueError, gzip.BadGzipFile) as error:  # ValueError: of pandas' parser
        raise ValueError(f"{path}: not a readable CSV ({error}). {remedy}") from error
    check_columns(path, found, columns, remedy)
    if table.empty and not may_be_empty:
        raise ValueError(f"{path}: has no rows. {remedy}")
    return table


def read_rows(path, needed, meant):
    """Returns the rows of a CSV that somebody wrote by hand, the first from line 2.

    Arguments
    ---------
    path : str or Path
    needed : sequence of str
        Columns that must be there.
    meant : str
        For errors: the columns that were expected.

    Returns
    -------
    list of dict
        Texts by column.

    Raises
    ------
    ValueError
        Naming the file, and the line where there is one.
    """
    check_text(path)
    with open(path, encoding=ENCODING, newline="") as file:
        reader = csv.DictReader(file)
        try:
            columns, rows = list(reader.fieldnames or ()), list(reader)
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    expected = f"Expected the columns {meant}, separated by commas"
    check_columns(path, columns, needed, expected)
    if not rows:
        raise ValueError(f"{path}: has no rows. Expected one recording per row")
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise ValueError(
                f"{path}, line {number}: more cells than columns. A cell that holds a "
                "comma needs quotes"
            )
    return rows
