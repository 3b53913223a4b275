"""Which layers a mixture variant keeps and what a task asks for.

A PolSESS recording is a sum of layers (mix = s1 + r1 + s2 + r2 + b + e + re); a variant
is made from the mix by subtracting layers. Letters name what is KEPT of the
background: S the scene, E the event (with its reverb), R the speakers' reverb.
"""

# Layers as columns of the manifests, and what has to go for each letter to be absent.
LETTER_LAYERS = {
    "S": ("scene",),
    "E": ("event", "ev_reverb"),
    "R": ("sp1_reverb", "sp2_reverb"),
}
REVERB_LAYERS = ("sp1_reverb", "sp2_reverb", "ev_reverb")  # indoor rows only

INDOOR_VARIANTS = ("SER", "SR", "ER", "R", "C")
OUTDOOR_VARIANTS = ("SE", "S", "E", "C")
VARIANTS = ("SER", "SE", "SR", "S", "ER", "E", "R", "C")
FULL_MIX = ("SER", "SE")

TASK_TARGETS = {
    "SB": (("s1",), ("s2",)),  # separate both
    "EB": (("s1", "s2"),),  # enhance both: their sum
    "ES": (("s1",),),  # enhance a single speaker
}
ENHANCEMENT = ("EB", "ES")  # a mixture of variant C is its own target


def targets(task):
    """Returns the target sources of a task, each a tuple of layers to be summed.

    Arguments
    ---------
    task : str
        SB (separate both), EB (enhance both) or ES (enhance single).

    Returns
    -------
    tuple of tuples of str

    Raises
    ------
    ValueError
        If the task is unknown.
    """
    if task not in TASK_TARGETS:
        raise ValueError(f"task: {task!r} is not one of {', '.join(TASK_TARGETS)}")
    return TASK_TARGETS[task]


def num_sources(task):
    """Returns how many sources the model of a task puts out."""
    return len(targets(task))


def fitting(indoor):
    """Returns the variants that exist for an indoor (True) or outdoor row."""
    return INDOOR_VARIANTS if indoor else OUTDOOR_VARIANTS


def removed_layers(variant, task, indoor):
    """Returns the layers to subtract from the mix to get a variant.

    Arguments
    ---------
    variant : str
        One of VARIANTS that fits the row.
    task : str
        SB, EB or ES; ES takes the second speaker and its reverb out as well.
    indoor : bool
        Whether the row has reverb layers.

    Returns
    -------
    tuple of str
        Manifest columns, each at most once.
    """
    if variant not in fitting(indoor):
        where = "indoor" if indoor else "outdoor"
        raise ValueError(
            f"Variant {variant!r} does not exist for {where} rows, which have "
            f"{', '.join(fitting(indoor))}"
        )
    letters = "" if variant == "C" else variant
    removed = [
        layer
        for letter, layers in LETTER_LAYERS.items()
        if letter not in letters
        for layer in layers
    ]
    if task == "ES":
        removed += ["s2"] + ["sp2_reverb"] * ("sp2_reverb" not in removed)
    return tuple(layer for layer in removed if indoor or layer not in REVERB_LAYERS)
