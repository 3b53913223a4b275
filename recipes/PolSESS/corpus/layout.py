"""The layers of a recording: what they are called, and where a corpus keeps them.

A mix is the sum of its layers. Code and manifests call a layer by its name; the folders
and the columns of the corpus CSVs are PolSESS' own.
"""

from dataclasses import dataclass

from recipekit.files import keyed


@dataclass(frozen=True)
class Layer:
    """A layer, or the mix.

    Arguments
    ---------
    name : str
        In code, and its column in the manifests.
    folder : str
        Of its files, in the folder of a subset.
    column : str
        Of the corpus CSV, with its file's name.
    indoor_only : bool
        Whether outdoor recordings lack it.
    stem_key : str or bool
        What the stem of its file is drawn for, where that is not the name. Layers
        with the same key share a stem.
    prefix : str
        What its file's name begins with, before the stem.
    """

    name: str
    folder: str
    column: str
    indoor_only: bool = False
    stem_key: str | bool = ""
    prefix: str = ""

    def file_name(self, audio_format, *key):
        """Draws the name of its file.

        Arguments
        ---------
        audio_format : str
            wav or flac.
        *key
            Of the recording: seed, subset and row.
        """
        stem = keyed.name(*key, self.stem_key or self.name)
        return f"{self.prefix}{stem}.{audio_format}"


# What the stem of a recording's reverbs is drawn for, all three at once. Its value says
# nothing; with another one the files of corpora would get other names.
REVERB_STEM = True


def _reverb(name, column):
    prefix = name.removesuffix("reverb")
    return Layer(name, name, column, True, REVERB_STEM, prefix)


S1 = Layer("s1", "clean", "speaker1File", stem_key="clean1")
S2 = Layer("s2", "clean", "speaker2File", stem_key="clean2")
SCENE = Layer("scene", "scene", "sceneFile")
EVENT = Layer("event", "event", "eventFile")
EV_REVERB = _reverb("ev_reverb", "reverbForEvent")
SP1_REVERB = _reverb("sp1_reverb", "reverbForSpeaker1")
SP2_REVERB = _reverb("sp2_reverb", "reverbForSpeaker2")
MIX = Layer("mix", "mix", "mixFile")

SPEAKERS = (S1, S2)
REVERBS = (EV_REVERB, SP1_REVERB, SP2_REVERB)
LAYERS = (*SPEAKERS, SCENE, EVENT, *REVERBS)
STORED = (MIX, *LAYERS)  # in the order of the manifests' columns
FOLDERS = tuple(dict.fromkeys(layer.folder for layer in STORED))
