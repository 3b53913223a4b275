"""Reads a model's description without running anything that it names.

A description is YAML of plain values and ``!new:`` tags, as SpeechBrain's, but of known
classes only. Those are built by ``build``, after all of the file has been read.
"""

from speechbrain.lobes.models.dual_path import Decoder, Dual_Path_Model, Encoder

from exported.streaming import SeparationError
from extra_models import conv_tasnet, dual_path, spmamba
from recipekit.files.tagged_yaml import New, TagConstructor, read_tagged

PRETRAINER = "speechbrain.utils.parameter_transfer.Pretrainer"  # read, never built
LOBES = "speechbrain.lobes.models"
# What a description may name, and what is built for it: of SpeechBrain's lobes those
# of ours that compute the same with the same weights, faster.
KNOWN_CLASSES = {
    f"{LOBES}.dual_path.Encoder": Encoder,
    f"{LOBES}.dual_path.Decoder": Decoder,
    f"{LOBES}.dual_path.Dual_Path_Model": Dual_Path_Model,
    f"{LOBES}.dual_path.SBRNNBlock": dual_path.RNNBlock,
    f"{LOBES}.dual_path.SBTransformerBlock": dual_path.TransformerBlock,
    f"{LOBES}.conv_tasnet.MaskNet": conv_tasnet.MaskNet,
    "extra_models.spmamba.SPMamba": spmamba.SPMamba,
}


class DescriptionConstructor(TagConstructor):
    """Reads YAML as plain values and New; every other tag is an error."""

    def new(self, name, node):
        """Reads ``!new:name {arguments}``."""
        if name not in KNOWN_CLASSES and name != PRETRAINER:
            self.refuse(node)
        return New(name, self.construct_mapping(node, deep=True))

    def refuse(self, node):
        """Raises for any tag that could name code."""
        raise ValueError(
            f"tag {node.tag!r} in line {node.start_mark.line + 1} is refused: a model "
            f"is built of {', '.join(KNOWN_CLASSES)} only"
        )


DescriptionConstructor.add_multi_constructor("!new:", DescriptionConstructor.new)
DescriptionConstructor.add_constructor(None, DescriptionConstructor.refuse)


def read_description(file, constructor=DescriptionConstructor):
    """Reads a hyperparams.yaml without importing or calling anything it names.

    Arguments
    ---------
    file : Path
    constructor : class
        What its tags may stand for.

    Returns
    -------
    dict
        Plain values and New.

    Raises
    ------
    SeparationError
        If the file cannot be read, is not a YAML mapping or has other tags.
    """
    try:
        return read_tagged(file, constructor)
    except ValueError as error:
        raise SeparationError(str(error)) from error


def build(value, built):
    """Builds a New and those in its arguments; one that is named twice is shared."""
    if not isinstance(value, New):
        return value
    if value not in built:
        arguments = {k: build(v, built) for k, v in value.arguments.items()}
        built[value] = KNOWN_CLASSES[value.name](**arguments)
    return built[value]
