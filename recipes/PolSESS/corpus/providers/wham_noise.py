"""Collection `wham_noise`: the noise of WHAM!, two-channel recordings of venues.

Wichern et al., "WHAM!: Extending Speech Separation to Noisy Environments", Interspeech
2019 (http://wham.whisper.ai). Its scene classes are how much a venue reverberates:
high, medium or low. Its own split binds.
"""

from corpus.providers.download import Download, Found

PATTERN = r"(?P<part>tr|cv|tt)/(?P<name>[^/]+)"
OFFICIAL = {"tr": "train", "cv": "val", "tt": "test"}
ID, LEVEL, LOCATION = COLUMNS = ("utterance_id", "Reverberation Level", "Location ID")
LICENCE = "CC BY-NC 4.0"


def find(root):
    """Returns the Found recordings of a download.

    Raises
    ------
    ValueError
        If the metadata is missing that tells the classes.
    """
    download = Download(root, "wham_noise/tr/20mo010o_2.0092_20da010e_-2.0092.wav")
    recordings = download.recordings(PATTERN)
    parts = sorted({match["part"] for _, match in recordings})
    listed = {
        row[ID].removesuffix(".wav"): row
        for row in download.rows(COLUMNS, *(f"noise_meta_{part}.csv" for part in parts))
    }
    found = []
    for path, match in recordings:
        row = listed.get(match["name"], {})
        level = row.get(LEVEL, "").strip()[:1].lower()  # h or high
        venue = row.get(LOCATION, "").strip()
        found.append(
            Found(
                path,
                "scene",
                "wham_noise",
                class_=level if level in tuple("hml") else "",
                recording=f"wham_noise {venue}" if venue else "",
                licence=LICENCE,
                official=OFFICIAL[match["part"]],
            )
        )
    return found
