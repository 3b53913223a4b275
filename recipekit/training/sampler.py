"""The order of an epoch's items, by key, and each process' share of them."""

import torch

from recipekit.files import keyed


class KeyedSampler(torch.utils.data.Sampler):
    """Orders an epoch's items by (seed, epoch, id): no restart makes a difference.

    With several processes each takes every n-th item, so that the batches of one step
    together are those of one process with an n times larger batch. Items that would
    leave the processes with unequal numbers are left out of that epoch.

    Arguments
    ---------
    draw : callable
        Of an epoch, counted from 1; returns pairs of an item's id (str) and of what the
        dataset is asked for.
    seed : int
    rank, world_size : int
        This process and the number of processes.
    """

    def __init__(self, draw, seed, rank=0, world_size=1):
        self.draw, self.seed = draw, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = None
        self.set_epoch(1)

    def set_epoch(self, epoch):
        """Makes the sampler's items those of an epoch.

        Raises
        ------
        ValueError
            If it has fewer than there are processes.
        """
        if epoch == self.epoch:
            return
        drawn = sorted(
            (keyed.integer(self.seed, epoch, name, "order"), item)
            for name, item in self.draw(epoch)
        )
        even = len(drawn) // self.world_size * self.world_size
        if not even:
            raise ValueError(
                f"Epoch {epoch}: {len(drawn)} training rows for {self.world_size} "
                "processes. Start fewer, or train on more rows"
            )
        self.epoch = epoch
        self.items = [item for _, item in drawn[self.rank : even : self.world_size]]

    def __iter__(self):
        return iter(self.items)

    def __len__(self):
        return len(self.items)
