"""Collection `emu`: the Polish Read Speech corpus of CLARIN-PL, as an EMU database.

Korzinek et al., "Polish Read Speech Corpus for Speech Tools and Services", 2017
(https://mowa.clarin-pl.eu): 317 people read sentences and rich words in 553 sessions.
The database does not tell which sessions are of one person, so the session counts as
the speaker.
"""

from corpus.providers.download import Download, Found

SESSION = r"(?P<speaker>[^/]+)_ses/"
PATTERN = rf"{SESSION}(?P<bundle>[^/]+)_bndl/(?P=bundle)"
SPEAKER = rf"{SESSION}.+"  # in paths of any origin
LICENCE = "see the page of the collection (CLARIN-PL)"


def find(root):
    """Returns the Found recordings of a download."""
    download = Download(root, "SES0005_ses/sent003_bndl/sent003.wav")
    return [
        Found(path, "speech", "emu", speaker=match["speaker"], licence=LICENCE)
        for path, match in download.recordings(PATTERN)
    ]
