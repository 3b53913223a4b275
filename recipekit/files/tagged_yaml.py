"""Reads HyperPyYAML files without running anything that they name."""

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, SequenceNode


class New:
    """An object that a file asks for, not built.

    Arguments
    ---------
    name : str
        Full name of the class, or another tag.
    arguments : dict
        Its arguments by name.
    """

    def __init__(self, name, arguments):
        self.name = name
        self.arguments = arguments

    def names(self):
        """Yields its name and those of the objects in its arguments."""
        yield self.name
        for value in self.arguments.values():
            if isinstance(value, New):
                yield from value.names()


class TagConstructor(SafeConstructor):
    """Reads ``!new:name {arguments}`` as New, other tags as New without arguments."""

    def new(self, name, node):
        """Reads ``!new:name``; arguments without names are numbered."""
        if isinstance(node, MappingNode):
            return New(name, self.construct_mapping(node, deep=True))
        if isinstance(node, SequenceNode):
            return New(name, dict(enumerate(self.construct_sequence(node, deep=True))))
        return New(name, {})

    def other(self, node):
        """Reads any other tag."""
        return New(node.tag, {})


TagConstructor.add_multi_constructor("!new:", TagConstructor.new)
TagConstructor.add_constructor(None, TagConstructor.other)


def read_tagged(path, constructor=TagConstructor):
    """Reads a file of keys and values.

    Arguments
    ---------
    path : Path
    constructor : class
        What its tags may stand for.

    Returns
    -------
    dict
        Plain values and New.

    Raises
    ------
    ValueError
        If the file cannot be read, is not a YAML mapping, or is refused.
    """
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = constructor
    try:
        content = reader.load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: {reason}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping of keys to values")
    return content
