"""Collection `fsd50k`: FSD50K, Freesound clips with several labels each.

Fonseca et al., "FSD50K: an Open Dataset of Human-Labeled Sound Events", TASLP 30, 2022
(https://zenodo.org/records/4060432). Files are named by their number on Freesound.
Its evaluation set is for test; how its development set is split does not bind.
"""

from corpus.providers.download import Download, Found
from corpus.tables import event_classes

PATTERN = r"(?:FSD50K\.)?(?P<part>dev|eval)_audio/(?P<recording>\d+)"
OFFICIAL = {"dev": "", "eval": "test"}
# A file with one of them is not used at all: what is heard would be a third voice that
# is no target. Speech, singing, shouting, whispering, laughing and crying are all below
# Human_voice in the AudioSet ontology, whose parents FSD50K labels too; groups of
# people are not.
VOICES = {"Human_voice", "Chatter", "Crowd", "Cheering"}
LICENCE = "each clip its own: CC0, CC BY, CC BY-NC or CC Sampling+ (FSD50K: CC BY 4.0)"


def find(root):
    """Returns the Found recordings of a download."""
    download = Download(root, "FSD50K.dev_audio/319365.wav")
    recordings = download.recordings(PATTERN)
    parts = sorted({match["part"] for _, match in recordings})
    rows = download.rows(("fname", "labels"), *(f"{part}.csv" for part in parts))
    labels = {row["fname"]: row["labels"].split(",") for row in rows}
    return [
        Found(
            path,
            "event",
            "fsd50k",
            class_=_classes(labels.get(match["recording"], [])),
            recording=f"freesound {match['recording']}",
            licence=LICENCE,
            official=OFFICIAL[match["part"]],
        )
        for path, match in recordings
    ]


def _classes(labels):
    if VOICES & set(labels):
        return ""
    return ",".join(label for label in labels if label in event_classes())
