"""What a report is made of: sections of texts, tables, pictures and recordings."""

from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table that is sorted and searched on the page; also written as ``<name>.csv``.

    Attributes
    ----------
    name : str
        File stem, unique in the report.
    title : str
    frame : pandas.DataFrame
        Numbers as numbers: the CSV has them in full, the page rounded. Values that
        are a Path become links, relative to the page.
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
    raster : bool
        Whether it is shown as pixels, as spectrograms are, and not as lines.
    """

    name: str
    title: str
    figure: Figure
    raster: bool = False


@dataclass(frozen=True)
class Panels:
    """Small figures side by side, as many in a row as the page is wide.

    Attributes
    ----------
    name : str
        Their anchor, unique in the report.
    title : str
    figures : list of matplotlib.figure.Figure
        Of equal size.
    legend : dict
        What is drawn -> its colour, as matplotlib names it.
    """

    name: str
    title: str
    figures: list
    legend: dict = field(default_factory=dict)


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
class Folded:
    """Blocks that are shown after a click on their title.

    Attributes
    ----------
    title : str
    blocks : tuple
        As of a Section, none of them folded.
    """

    title: str
    blocks: tuple


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading.

    Attributes
    ----------
    name : str
        Its anchor.
    title : str
    blocks : tuple
        Of the other classes, in the order of reading.
    tone : str
        How its texts look: "lead" for what a reader must know, "warning" for what
        stands against it, "" for the rest.
    """

    name: str
    title: str
    blocks: tuple
    tone: str = ""
