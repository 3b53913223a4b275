"""Collection `tut2017`: TUT Acoustic Scenes 2017, development and evaluation.

Mesaros et al., "DCASE 2017 Challenge Setup", 2017 (https://zenodo.org/records/400515
and 1040168). Names of the development set say which recording a file was cut from;
those of the evaluation set do not, so all of that is for test.
"""

from pathlib import PurePosixPath

from corpus.providers.download import Download, Found
from corpus.tables import scene_classes

PATTERN = r"audio/(?P<name>(?P<recording>[ab]\d+)_\d+_\d+|\d+)"
TABLES = ("meta.txt", "evaluate.txt")  # file, scene and, sometimes, recording
LICENCE = "non-commercial, Tampere University of Technology; see its LICENSE file"


def find(root):
    """Returns the Found recordings of a download.

    Raises
    ------
    ValueError
        If no table tells the scenes.
    """
    download = Download(
        root, "TUT-acoustic-scenes-2017-development/audio/a139_230_240.wav"
    )
    recordings = download.recordings(PATTERN)
    lines = [line for line in download.lines(*TABLES) if len(line) > 1]
    scenes = {PurePosixPath(line[0]).stem: line[1].strip() for line in lines}
    if not any(match["name"] in scenes for _, match in recordings):
        raise ValueError(
            f"{download.root}: no scene is known of any of {len(recordings)} files. "
            f"Expected {' or '.join(TABLES)} with lines like "
            "audio/b020_90_100.wav<TAB>beach<TAB>b020; they come in the collection's "
            "meta archives, to be unpacked in the same folder"
        )
    found = []
    for path, match in recordings:
        scene, recording = scenes.get(match["name"]), match["recording"]
        found.append(
            Found(
                path,
                "scene",
                "tut2017",
                class_=scene if scene in scene_classes() else "",
                recording=f"tut2017 {recording}" if recording else "",
                licence=LICENCE,
                official="" if recording else "test",
            )
        )
    return found
