"""A DataLoader that shows how far it is."""

import torch

from recipekit.console import progress_bar


class ShownLoader(torch.utils.data.DataLoader):
    """A DataLoader that shows its progress under its ``title``, if it has one."""

    title = None

    def __iter__(self):
        return iter(
            progress_bar(
                super().__iter__(),
                desc=self.title,
                total=len(self),
                leave=False,
                disable=self.title is None,
            )
        )
