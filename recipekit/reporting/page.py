"""Writes a report: one self-contained HTML page, and its tables as CSVs."""

import base64
import io
import os
import re
from pathlib import Path
from urllib.parse import quote

import jinja2
import matplotlib
import pandas as pd
import soundfile
from markupsafe import Markup
from matplotlib.colors import to_hex
from PIL import Image

from recipekit.files.atomic import replacing
from recipekit.reporting.document import Folded, Panels, Picture, Sound, Table

DPI = 120
# Texts stay texts, and equal figures become equal bytes.
SVG = {"svg.fonttype": "none", "svg.hashsalt": "report"}
# What a data URI in an attribute may hold as it is; the rest is percent-encoded.
UNQUOTED = " !$'()*+,-./:;=?@[]^_`{|}~"
# Rows that a table shows at first, and from how many rows on it has a search box.
FIRST_ROWS, SEARCHED_ROWS = 12, 9


def write_page(sections, folder, title):
    """Writes report.html, and beside it the CSVs of its tables.

    Pictures and recordings are in the page only.

    Arguments
    ---------
    sections : list of Section
    folder : str or Path
        Made if need be.
    title : str

    Returns
    -------
    Path
        Of report.html.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rendered = [
        {
            "name": section.name,
            "title": section.title,
            "tone": section.tone,
            "blocks": [_render(block, folder) for block in section.blocks],
        }
        for section in sections
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    template = environment.get_template("template.html.j2")
    page = template.render(
        title=title,
        sections=rendered,
        first_rows=FIRST_ROWS,
        searched_rows=SEARCHED_ROWS,
    )
    path = folder / "report.html"
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _render(block, folder):
    """Writes a block's file, if it has one; returns what the template shows of it."""
    kind = type(block).__name__
    if isinstance(block, Table):
        return {"kind": kind} | _render_table(block, folder)
    if isinstance(block, Folded):
        blocks = [_render(inside, folder) for inside in block.blocks]
        return {"kind": kind, "title": block.title, "blocks": blocks}
    if isinstance(block, (Picture, Panels)):
        raster = isinstance(block, Picture) and block.raster
        figures = block.figures if isinstance(block, Panels) else [block.figure]
        legend = block.legend if isinstance(block, Panels) else {}
        return {
            "kind": kind,
            "name": block.name,
            "title": block.title,
            "drawing": not raster,
            "uris": [_as_png(each) if raster else _as_svg(each) for each in figures],
            "legend": {name: to_hex(color) for name, color in legend.items()},
        }
    if isinstance(block, Sound):
        wav = io.BytesIO()
        soundfile.write(wav, block.samples, block.rate, "PCM_16", format="WAV")
        uri = _data_uri("audio/wav", wav.getvalue())
        return {"kind": kind, "title": block.title, "uri": uri}
    return {"kind": kind, "text": block.text}


def _render_table(table, folder):
    """Writes the CSV of a table; returns what the template shows of it."""
    frame = table.frame.map(
        lambda value: _link(value, folder) if isinstance(value, Path) else value
    )
    with replacing(folder / f"{table.name}.csv") as path:
        frame.to_csv(path, index=False, lineterminator="\n")
    decimals = [
        0 if _are_whole(values) else table.decimals for _, values in frame.items()
    ]
    return {
        "title": table.title,
        "file": f"{table.name}.csv",
        "columns": [
            {"name": name, "number": pd.api.types.is_numeric_dtype(values)}
            for name, values in frame.items()
        ],
        "rows": [
            [_cell(*pair) for pair in zip(row, decimals, strict=True)]
            for row in frame.itertuples(index=False, name=None)
        ],
    }


class Link(str):
    """The address of a file or folder, relative to the page; shown by its last name."""


def _link(path, folder):
    return Link(os.path.relpath(path, folder).replace(os.sep, "/"))


def _as_svg(figure):
    """Returns a figure as the data URI of an SVG without a background."""
    file = io.StringIO()
    with matplotlib.rc_context(SVG):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # What no reader sees, half of the file: names, and digits beyond a hundredth.
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(
        r' (?:d|x|y|transform)="[^"]*"',
        lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]),
        text,
    )
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "sans-serif", text)  # the reader's own
    text = re.sub(r"\s+", " ", text).replace("> <", "><").replace('"', "'")
    return Markup(f"data:image/svg+xml,{quote(text, safe=UNQUOTED)}")


def _as_png(figure):
    """Returns a figure as the data URI of a PNG.

    It has a palette: a quarter of full colour's size.
    """
    full, png = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=DPI)
    with Image.open(full) as image:
        palette = image.convert("RGB").quantize(
            method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
        )
    palette.save(png, format="png", optimize=True)
    return _data_uri("image/png", png.getvalue())


def _are_whole(values):
    """Returns whether a column holds whole numbers only, be they floats."""
    if not pd.api.types.is_numeric_dtype(values):
        return False
    known = values.dropna().astype(float)
    return bool((known == known.round()).all())


def _cell(value, decimals):
    """Returns a cell as it is shown, and by what it sorts: a number, or its text."""
    if pd.isna(value):
        return {"text": "–", "key": "", "link": ""}
    if isinstance(value, Link):
        return {"text": Path(value).name or value, "key": value, "link": value}
    text = str(value)
    if isinstance(value, float):
        text = f"{value:,.{decimals}f}"
        if value and round(value, decimals) == 0:
            text = f"{value:.1e}"
    if not isinstance(value, str):
        text = text.replace("-", "−")
    return {"text": text, "key": str(value), "link": ""}


def _data_uri(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
