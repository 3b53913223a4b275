"""What a report is made of: sections of texts, tables and pictures."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table that sorts by a click on a heading; also written as ``<name>.csv``.

    Attributes
    ----------
    name : str
        File stem, unique in the report.
    title : str
    frame : pandas.DataFrame
        Numbers as numbers: the CSV has them in full, the page rounded.
    decimals : int
        Of the floats on the page.
    """

    name: str
    title: str
    frame: pd.DataFrame
    decimals: int = 2


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes
    ----------
    name : str
        Its anchor, unique in the report.
    title : str
    figure : matplotlib.figure.Figure
    """

    name: str
    title: str
    figure: Figure


@dataclass(frozen=True)
class Sound:
    """A recording with a player.

    Attributes
    ----------
    title : str
    samples : numpy.ndarray
        Shape [time], within -1..1.
    rate : int
        Hz.
    """

    title: str
    samples: object
    rate: int


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading.

    Attributes
    ----------
    name : str
        Its anchor.
    title : str
    blocks : tuple
        Of Text, Table, Picture and Sound, in the order of reading.
    """

    name: str
    title: str
    blocks: tuple
