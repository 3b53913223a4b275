"""Puts recordings into subsets so that nothing is in two of them.

What stays together is a speaker, the place where a scene was recorded, or the clip on
Freesound that events were cut from, in whichever collection. Where a collection's own
split puts one of its files decides; all else is decided by a hash of its name. So the
split has no seed, and adding recordings moves no others.
"""

from collections import defaultdict

from corpus import keyed
from corpus.sources import SUBSETS

HELD_OUT = {"test": 0.1, "val": 0.2}  # upper ends in [0, 1); the rest is for training
# Two readers speak 85 % of MLS and 55 % of all speech. With this constant in the hash
# they are for training, and the published collections give about 80/10/10 of the hours.
SALT = 4


def speaker_disjoint(found):
    """Returns the subset of each recording.

    Arguments
    ---------
    found : list of Found

    Returns
    -------
    list of str
        train, val or test.
    """
    official = defaultdict(set)
    for recording in found:
        official[recording.unit].add(recording.official)
    subsets = {
        unit: next((s for s in reversed(SUBSETS) if s in own), None) or _hashed(unit)
        for unit, own in official.items()
    }
    return [subsets[recording.unit] for recording in found]


def _hashed(unit):
    place = keyed.uniform(0.0, 1.0, "split", SALT, unit)
    return next((subset for subset, end in HELD_OUT.items() if place < end), "train")
