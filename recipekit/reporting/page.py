"""Writes a report: one self-contained HTML page, and its tables as CSVs."""

import base64
import io
from pathlib import Path

import jinja2
import pandas as pd
import soundfile
from PIL import Image

from recipekit.files.atomic import replacing
from recipekit.reporting.document import Picture, Sound, Table

DPI = 120


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
    path = folder / "report.html"
    with replacing(path) as temporary:
        temporary.write_text(
            template.render(title=title, sections=rendered), encoding="utf-8"
        )
    return path


def _render(block, folder):
    """Writes a block's file, if it has one; returns what the template shows of it."""
    kind = type(block).__name__
    if isinstance(block, Table):
        decimals = [
            0 if _are_whole(values) else block.decimals
            for _, values in block.frame.items()
        ]
        with replacing(folder / f"{block.name}.csv") as path:
            block.frame.to_csv(path, index=False, lineterminator="\n")
        return {
            "kind": kind,
            "title": block.title,
            "file": f"{block.name}.csv",
            "columns": [
                {"name": name, "number": pd.api.types.is_numeric_dtype(values)}
                for name, values in block.frame.items()
            ],
            "rows": [
                [_cell(*pair) for pair in zip(row, decimals, strict=True)]
                for row in block.frame.itertuples(index=False, name=None)
            ],
        }
    if isinstance(block, Picture):
        return {
            "kind": kind,
            "name": block.name,
            "title": block.title,
            "uri": _data_uri("image/png", _as_png(block.figure)),
        }
    if isinstance(block, Sound):
        wav = io.BytesIO()
        soundfile.write(wav, block.samples, block.rate, "PCM_16", format="WAV")
        return {
            "kind": kind,
            "title": block.title,
            "uri": _data_uri("audio/wav", wav.getvalue()),
        }
    return {"kind": kind, "text": block.text}


def _as_png(figure):
    """Returns a figure as a PNG with a palette (bytes): a quarter of full colour's."""
    full, png = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=DPI)
    with Image.open(full) as image:
        palette = image.convert("RGB").quantize(
            method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
        )
    palette.save(png, format="png", optimize=True)
    return png.getvalue()


def _are_whole(values):
    """Returns whether a column holds whole numbers only, be they floats."""
    if not pd.api.types.is_numeric_dtype(values):
        return False
    known = values.dropna().astype(float)
    return bool((known == known.round()).all())


def _cell(value, decimals):
    """Returns a cell as it is shown, and by what it sorts: a number, or its text."""
    if pd.isna(value):
        return {"text": "–", "key": ""}
    text = str(value)
    if isinstance(value, float):
        text = f"{value:,.{decimals}f}"
        if value and round(value, decimals) == 0:
            text = f"{value:.1e}"
    if not isinstance(value, str):
        text = text.replace("-", "−")
    return {"text": text, "key": str(value)}


def _data_uri(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
