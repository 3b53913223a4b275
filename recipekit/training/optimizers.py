"""Optimisers by name, for the hparams files."""

from functools import partial

import torch

# Of torch, with its defaults, but for the momentum, without which SGD is no match.
OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
}


def optimizer_class(name, lr, weight_decay):
    """Returns what makes an optimiser of parameters.

    Arguments
    ---------
    name : str
        A key of OPTIMIZERS.
    lr : float
        Learning rate.
    weight_decay : float
        Decoupled for adamw (Loshchilov & Hutter, 2019); for all others, as in torch, a
        multiple of the weights that is added to the gradient (L2 penalty).

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        Listing the names there are.
    """
    if name not in OPTIMIZERS:
        raise ValueError(
            f"optimizer: {name!r}; expected one of {', '.join(OPTIMIZERS)}"
        )
    return partial(OPTIMIZERS[name], lr=lr, weight_decay=weight_decay)
