"""Collection `esc50`: ESC-50, environmental sounds cut from Freesound.

Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015
(https://github.com/karolpiczak/ESC-50). Its names tell fold, clip on Freesound, part of
it and class. Folds do not bind.
"""

from corpus.providers.download import Download, Found
from corpus.tables import event_classes

PATTERN = r"(?P<name>[1-5]-(?P<recording>\d+)-[A-Z]-\d+)"
LICENCE = "CC BY-NC 3.0"


def find(root):
    """Returns the Found recordings of a download."""
    download = Download(root, "audio/3-163607-B-13.wav")
    recordings = download.recordings(PATTERN)
    rows = download.rows(("filename", "category"), "esc50.csv")
    category = {row["filename"].rpartition(".")[0]: row["category"] for row in rows}
    return [
        Found(
            path,
            "event",
            "esc50",
            class_=name if name in event_classes() else "",
            recording=f"freesound {match['recording']}",
            licence=LICENCE,
        )
        for path, match in recordings
        for name in [category.get(match["name"])]
    ]
