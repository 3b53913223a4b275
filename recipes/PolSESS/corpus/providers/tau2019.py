"""Collection `tau2019`: TAU Urban Acoustic Scenes 2019, development.

Mesaros et al., "A multi-device dataset for urban acoustic scene classification", 2018
(https://zenodo.org/records/2589280). A place is a scene, a city and a number.
"""

from pathlib import PurePosixPath

from corpus.providers.download import Download, Found
from corpus.tables import scene_classes

NAME = r"(?P<recording>(?P<scene>[a-z_]+)-[a-z]+-\d+)-\d+-\w+"
PATTERN = rf"(?:(?:audio/)?{NAME}|audio/[^/]+)"
LICENCE = "non-commercial, Tampere University; see its LICENSE file"


def find(root):
    """Returns the Found recordings of a download.

    Raises
    ------
    ValueError
        If neither names nor a meta.csv tell the scenes.
    """
    download = Download(root, "audio/tram-helsinki-276-8412-a.wav")
    recordings = download.recordings(PATTERN)
    listed = {}  # of files with other names: filename, scene_label, identifier, ...
    for name, *cells in filter(any, download.lines("meta.csv")):
        if len(cells) < 2:
            raise ValueError(
                f"{download.root}: meta.csv, line of {name}: expected file, scene and "
                "place, separated by tabs"
            )
        listed[PurePosixPath(name).stem] = cells[:2]
    found = []
    for path, match in recordings:
        scene, place = listed.get(PurePosixPath(path).stem, ("", ""))
        if match["recording"]:
            scene, place = match["scene"], match["recording"]
        found.append(
            Found(
                path,
                "scene",
                "tau2019",
                class_=scene if scene in scene_classes() else "",
                recording=f"tau2019 {place}" if place else "",
                licence=LICENCE,
            )
        )
    if not any(file.class_ for file in found):
        raise ValueError(
            f"{download.root}: no scene is known of any of {len(found)} files, e.g. "
            f"{found[0].path}. Expected names like {download.example}, or meta.csv "
            "with lines like audio/0.wav<TAB>tram<TAB>tram-helsinki-276"
        )
    return found
