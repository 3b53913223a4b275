"""Collection `mls_polish`: the Polish part of Multilingual LibriSpeech.

Pratap et al., "MLS: A Large-Scale Multilingual Dataset for Speech Research",
Interspeech 2020 (https://www.openslr.org/94).
"""

from corpus.providers.download import Download, Found

# In paths of any origin, such as those of published lists.
SPEAKER = r"audio/(?P<speaker>\d+)/(?P<book>\d+)/(?P=speaker)_(?P=book)_\d+"
PATTERN = rf"(?P<part>train|dev|test)/{SPEAKER}"
OFFICIAL = {"train": "", "dev": "val", "test": "test"}  # train may be split further
LICENCE = "CC BY 4.0"


def find(root):
    """Returns the Found recordings of a download, with transcripts if it has them."""
    download = Download(root, "train/audio/6892/10920/6892_10920_001418.flac")
    said = {line[0]: line[-1] for line in download.lines("transcripts.txt")}
    return [
        Found(
            path,
            "speech",
            "mls_polish",
            speaker=match["speaker"],
            licence=LICENCE,
            transcript=said.get(path.rpartition("/")[2].partition(".")[0], ""),
            official=OFFICIAL[match["part"]],
        )
        for path, match in download.recordings(PATTERN)
    ]
