"""Randomness by key: each draw is a pure function of what it is drawn for.

A draw depends on its key alone, for example ``(seed, "train", row, "ssr")``,
never on the draws made before it. Worker processes, restarts, the order of the rows
and other machines therefore change nothing. Hashing (BLAKE2b) instead of a
generator's stream also keeps draws equal across NumPy and Python versions.
"""

from hashlib import blake2b

import numpy as np

NAME_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def integer(*key):
    """Returns a uniform 64-bit integer for the key.

    Arguments
    ---------
    *key : str, int, float or bool
        What the draw is for, e.g. ``(seed, subset, row, purpose)``.
    """
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def digest(values):
    """Returns 32 hexadecimal digits that tell values apart by their ``repr``."""
    return blake2b(repr(values).encode(), digest_size=16).hexdigest()


def uniform(low, high, *key):
    """Returns a float drawn uniformly from [low, high)."""
    return low + (high - low) * (integer(*key) >> 11) / 2**53


def randint(low, high, *key):
    """Returns an integer drawn uniformly from low..high, both included."""
    return low + integer(*key) % (high - low + 1)


def choice(items, *key):
    """Returns one item of a non-empty sequence, each equally likely."""
    return items[integer(*key) % len(items)]


def shuffled(items, *key):
    """Returns the items as a list in keyed order.

    Items are sorted by the hash of their own ``repr``, so adding one does not change
    the relative order of the others.
    """
    return sorted(items, key=lambda item: integer(*key, item))


def name(*key, length=16):
    """Returns a random file stem of [a-z0-9]."""
    return "".join(choice(NAME_LETTERS, *key, i) for i in range(length))


def generator(*key):
    """Returns a NumPy generator for draws of whole arrays (noise)."""
    return np.random.Generator(np.random.Philox(key=integer(*key)))
