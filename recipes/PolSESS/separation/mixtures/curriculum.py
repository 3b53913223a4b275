"""Which variants an epoch trains on: a pure function of the epoch."""

import math

from mixtures.variants import VARIANTS, fitting
from recipekit.files import keyed


class Curriculum:
    """Stages of training, each from an epoch on with its own set of variants.

    Arguments
    ---------
    stages : list of dict
        Each with ``epoch`` (first epoch of the stage, counted from 1), ``variants``
        (list of str) and optionally ``plateau`` (bool: from this stage on the plateau
        scheduler may act; default False) and ``lr_scale`` (float: what the learning
        rate is multiplied by from this stage on). The first stage starts at epoch 1.

    Raises
    ------
    ValueError
        Naming the stage and what is wrong with it.
    """

    def __init__(self, stages):
        for stage in stages:
            _check(stage)
        self.stages = sorted(stages, key=lambda stage: stage["epoch"])
        epochs = [stage["epoch"] for stage in self.stages]
        if not epochs or epochs[0] != 1 or len(set(epochs)) < len(epochs):
            raise ValueError(
                f"curriculum: the stages start at epochs {epochs}; the first one must "
                "start at epoch 1, and each at an epoch of its own"
            )

    def stage(self, epoch):
        """Returns the stage (dict) that an epoch, counted from 1, belongs to."""
        return [stage for stage in self.stages if stage["epoch"] <= epoch][-1]

    def variants(self, epoch):
        """Returns the variants that an epoch trains on."""
        return tuple(self.stage(epoch)["variants"])

    def plateau_acts(self, epoch):
        """Returns whether the plateau scheduler may act after an epoch."""
        return any(
            stage.get("plateau", False) and stage["epoch"] <= epoch
            for stage in self.stages
        )

    def lr_scale(self, epoch):
        """Returns what the scheduler's learning rate is multiplied by in an epoch."""
        begun = [stage for stage in self.stages if stage["epoch"] <= epoch]
        return math.prod(stage.get("lr_scale", 1.0) for stage in begun)

    def draw(self, seed, epoch, row_id, indoor):
        """Draws the variant of a row in an epoch.

        Arguments
        ---------
        seed : int
        epoch : int
        row_id : str
        indoor : bool

        Returns
        -------
        str or None
            None if no variant of the epoch fits the row, which is then left out.
        """
        choices = [name for name in self.variants(epoch) if name in fitting(indoor)]
        if not choices:
            return None
        return keyed.choice(choices, seed, epoch, row_id, "variant")


def _check(stage):
    """Raises ValueError if a stage is not what Curriculum takes."""
    example = "expected, for example, {epoch: 1, variants: [C, R]}"
    if not isinstance(stage, dict) or not {"epoch", "variants"} <= set(stage):
        raise ValueError(f"curriculum: {stage!r} is not a valid stage; {example}")
    unknown = set(stage) - {"epoch", "variants", "plateau", "lr_scale"}
    if unknown:
        raise ValueError(f"curriculum: unknown keys {sorted(unknown)}; {example}")
    variants = stage["variants"]
    known = isinstance(variants, list) and set(variants) <= set(VARIANTS)
    if not known or not variants:
        raise ValueError(
            f"curriculum, epoch {stage['epoch']}: variants {variants!r}; expected a "
            f"list of some of {', '.join(VARIANTS)}"
        )
