"""Which variants an epoch trains on: a pure function of the epoch."""

from corpus import keyed
from variants import VARIANTS, fitting


class Curriculum:
    """Stages of training, each from an epoch on with its own set of variants.

    Arguments
    ---------
    stages : list of dict
        Each with ``epoch`` (first epoch of the stage, counted from 1), ``variants``
        (list of str) and optionally ``plateau`` (bool: from this stage on the plateau
        scheduler may act; default False) and ``lr_scale`` (float: what the learning
        rate is multiplied by when the stage starts). The first stage starts at epoch 1.

    Raises
    ------
    ValueError
        Naming the stage and what is wrong with it.
    """

    def __init__(self, stages):
        self.stages = sorted(stages, key=lambda stage: stage["epoch"])
        for stage in self.stages:
            unknown = sorted(set(stage["variants"]) - set(VARIANTS))
            if unknown or not stage["variants"]:
                raise ValueError(
                    f"curriculum, epoch {stage['epoch']}: variants "
                    f"{unknown or 'none'}; expected some of {', '.join(VARIANTS)}"
                )
            keys = set(stage) - {"epoch", "variants", "plateau", "lr_scale"}
            if keys:
                raise ValueError(
                    f"curriculum, epoch {stage['epoch']}: unknown keys {sorted(keys)}"
                )
        if not self.stages or self.stages[0]["epoch"] != 1:
            raise ValueError("curriculum: the first stage must start at epoch 1")

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
        """Returns what the learning rate is multiplied by before an epoch."""
        stage = self.stage(epoch)
        return stage.get("lr_scale", 1.0) if stage["epoch"] == epoch else 1.0

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
