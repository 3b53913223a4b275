"""Who may import whom: no arrow from the library to a recipe, no cycles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
POLSESS = REPOSITORY / "recipes" / "PolSESS"
ROOTS = {  # folder of modules: what is part of its graph
    REPOSITORY: ["recipekit"],
    POLSESS: ["corpus", "polsess_prepare.py"],
    POLSESS / "separation": ["."],
}


def modules():
    """Returns dict from module name to file, of the library and the recipe."""
    found = {}
    for root, parts in ROOTS.items():
        for part in parts:
            path = root / part
            files = [path] if path.is_file() else sorted(path.rglob("*.py"))
            for file in files:
                inside = file.relative_to(root)
                if file.is_symlink() or {"results", "data"} & set(inside.parts):
                    continue
                if root.name == "separation" and inside.parts[0] == "corpus":
                    continue  # a link to the corpus
                name = ".".join(inside.with_suffix("").parts)
                found[name.removesuffix(".__init__")] = file
    return found


def imports(file, known, top_level):
    """Returns the known modules that a file imports; at its top level or anywhere."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = tree.body if top_level else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
            names.add(node.module)
    return names & known


def test_the_library_knows_no_recipe():
    known = modules()
    ours = {name for name in known if name.startswith("recipekit")}
    outside = set(known) - ours
    for name in ours:
        assert not imports(known[name], outside, top_level=False), name
    assert len(ours) > 30 and len(outside) > 60
    # The test can fail: train.py is full of such arrows.
    assert imports(known["train"], outside, top_level=False)


@pytest.mark.parametrize("rooms", [False, True], ids=["modules", "rooms"])
def test_nothing_imports_in_a_circle(rooms):
    """Neither modules nor the library's folders."""
    known = modules()
    graph = {}
    for name, file in known.items():
        # What a function imports counts for folders, not for modules.
        found = imports(file, set(known), top_level=not rooms) - {name}
        if rooms:
            if not name.startswith("recipekit."):
                continue
            name = ".".join(name.split(".")[:2])
            found = {".".join(other.split(".")[:2]) for other in found} - {name}
            found -= {"recipekit"}
        graph.setdefault(name, set()).update(found)
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_rooms_import_in_their_order():
    """As the library says of itself."""
    order = ("files", "scoring", "training", "studies", "reporting")
    said = (REPOSITORY / "recipekit" / "__init__.py").read_text(encoding="utf-8")
    assert ", ".join(order) in said
    known = modules()
    for name, file in known.items():
        room, *_ = name.removeprefix("recipekit.").split(".")
        if not name.startswith("recipekit.") or room not in order:
            continue
        for other in imports(file, set(known), top_level=False):
            imported, *_ = other.removeprefix("recipekit.").split(".")
            if other.startswith("recipekit.") and imported in order:
                assert order.index(imported) <= order.index(room), (name, other)


def test_train_is_short():
    lines = (POLSESS / "separation" / "train.py").read_text("utf-8").splitlines()
    assert len(lines) <= 250


def test_the_library_names_no_corpus_and_no_model():
    words = ("PolSESS", "polsess", "SepFormer", "DPRNN", "Mamba", "SI-SDR", "si_sdr")
    for name, file in modules().items():
        if name.startswith("recipekit"):
            text = file.read_text(encoding="utf-8")
            assert not [word for word in words if word in text], name
