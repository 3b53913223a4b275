"""Which scenes there are, how each reverberates and which events it may hold.

The two CSV files in tables/ are facts of the published PolSESS generator: 24 scene
classes with the ranges of their plate reverberator (outdoor scenes have none), and
193 event classes (ESC-50 and FSD50K names) with the scenes each may sound in.
"""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

TABLES = Path(__file__).parent / "tables"
REVERB_RANGES = ("pre_delay", "high_cut", "diffusion", "decay", "freq_damp")


@dataclass(frozen=True)
class SceneClass:
    """A class of acoustic scenes.

    Arguments
    ---------
    name : str
        PolSESS' name, e.g. ``tram`` or ``cafe/restaurant``.
    indoor : bool
        Whether speech and events reverberate in it.
    ranges : dict
        Range (low, high) of each reverb parameter in REVERB_RANGES: pre_delay in
        seconds, high_cut in Hz, the others without unit. Empty outdoors.
    """

    name: str
    indoor: bool
    ranges: dict


def _read(file_name):
    with open(TABLES / file_name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@lru_cache(maxsize=1)
def scene_classes():
    """Returns a dict from name to SceneClass."""
    classes = {}
    for row in _read("scene_classes.csv"):
        indoor = row["where"] == "in"
        ranges = {
            name: (float(row[f"{name}_min"]), float(row[f"{name}_max"]))
            for name in REVERB_RANGES
            if indoor
        }
        name = row["scene_class"]
        classes[name] = SceneClass(name, indoor, ranges)
    return classes


@lru_cache(maxsize=1)
def event_classes():
    """Returns a dict from event class to the frozenset of scenes it may sound in."""
    return {
        row["event_class"]: frozenset(row["scenes"].split())
        for row in _read("event_classes.csv")
    }


def suited_events(scene):
    """Returns the frozenset of event classes that may sound in a scene class."""
    return frozenset(
        event for event, scenes in event_classes().items() if scene in scenes
    )
