"""Which layers a mixture variant keeps and what a task asks for.

A PolSESS recording is a sum of layers (mix = s1 + r1 + s2 + r2 + b + e + re); a variant
is made from the mix by subtracting layers. Letters name what is KEPT of the
background: S the scene, E the event (with its reverb), R the speakers' reverb.
"""

from dataclasses import dataclass

from corpus.layout import EV_REVERB, EVENT, S1, S2, SCENE, SP1_REVERB, SP2_REVERB

# What has to go for each letter to be absent.
LETTER_LAYERS = {
    "S": (SCENE,),
    "E": (EVENT, EV_REVERB),
    "R": (SP1_REVERB, SP2_REVERB),
}

INDOOR_VARIANTS = ("SER", "SR", "ER", "R", "C")
OUTDOOR_VARIANTS = ("SE", "S", "E", "C")
VARIANTS = ("SER", "SE", "SR", "S", "ER", "E", "R", "C")
FULL_MIX = ("SER", "SE")


@dataclass(frozen=True)
class Task:
    """What a model is to make of a mixture.

    Arguments
    ---------
    sources : tuple of tuple of Layer
        Its target sources, each the sum of some layers.
    unheard : tuple of Layer
        What no mixture of the task holds.
    enhancement : bool
        Whether the target is what a mixture of variant C already is.
    """

    sources: tuple
    unheard: tuple = ()
    enhancement: bool = False


TASKS = {
    "SB": Task(sources=((S1,), (S2,))),  # separate both
    "EB": Task(sources=((S1, S2),), enhancement=True),  # enhance both: their sum
    "ES": Task(  # enhance a single speaker
        sources=((S1,),), unheard=(S2, SP2_REVERB), enhancement=True
    ),
}


def find_task(name):
    """Returns the Task of a name; raises ValueError if there is none."""
    if name not in TASKS:
        raise ValueError(f"task: {name!r} is not one of {', '.join(TASKS)}")
    return TASKS[name]


def num_sources(task):
    """Returns how many sources the model of a task, given by its name, puts out."""
    return len(find_task(task).sources)


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
        SB, EB or ES.
    indoor : bool
        Whether the row has reverb layers.

    Returns
    -------
    tuple of str
        Names of layers, each at most once.
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
    removed += find_task(task).unheard
    return tuple(
        layer.name
        for layer in dict.fromkeys(removed)
        if indoor or not layer.indoor_only
    )
