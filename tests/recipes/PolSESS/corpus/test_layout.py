"""The table of layers: what follows from it, and that it is the only one."""

import ast
from pathlib import Path

import corpus.layout
from corpus.layout import FOLDERS, LAYERS, MIX, REVERBS, STORED

TABLE = Path(corpus.layout.__file__)
RECIPE = TABLE.parents[1]
ROLES = {"scene", "event"}  # of sources, too


def test_names_folders_and_columns_stand_in_the_table_alone():
    facts = {fact for x in STORED for fact in (x.name, x.folder, x.column, x.stem_key)}
    facts -= ROLES | {"", True}
    assert {"s1", "clean", "mixFile", "clean1", "ev_reverb"} < facts
    doubles = [
        f"{path.relative_to(RECIPE)}:{node.lineno} {node.value}"
        for path in sorted(RECIPE.rglob("*.py"))
        if path != TABLE
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        if isinstance(node.value, str) and node.value in facts
    ]
    assert not doubles


def test_no_two_layers_share_a_name_or_column_and_reverbs_are_indoors():
    assert STORED == (MIX, *LAYERS)
    for fact in ("name", "column"):
        assert len({getattr(layer, fact) for layer in STORED}) == len(STORED)
    assert set(FOLDERS) == {layer.folder for layer in STORED}
    assert set(REVERBS) == {layer for layer in STORED if layer.indoor_only}


def test_files_are_named_as_the_generator_does():
    key = (0, "train", 7)
    names = {layer.name: layer.file_name("wav", *key) for layer in STORED}
    assert len(set(names.values())) == len(STORED)
    stems = {names[layer.name].removeprefix(layer.prefix) for layer in REVERBS}
    assert len(stems) == 1  # the three reverbs of a recording share it
    assert names["ev_reverb"].startswith("ev_")
    assert all(len(Path(name).stem.rpartition("_")[2]) == 16 for name in names.values())
