"""What a recipe tells the library: its keys, what it measures, its corpora."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from recipekit.scoring.measures import Measures


@dataclass(frozen=True)
class Recipe:
    """A recipe as the library knows it; the rest is in the recipe's own folder.

    Attributes
    ----------
    folder : Path
        Of train.py, hparams/ and sweeps/.
    kinds : dict
        Key of a hparams file -> Kind, where the default does not say all that a value
        must be. Those of keys that all recipes share are ``hparams_keys.KINDS``.
    free_keys : tuple of str
        Keys of its own that may change when a run is resumed, beside
        ``identity.FREE_KEYS``.
    measures : Measures
        What its tests, searches and reports score.
    models : dict
        Last name of a class that only one model is made of -> name of that model.
    corpus_digest : callable
        From data_folder (str) to what tells a corpus from others, wherever it is (str):
        a study is resumed with the corpus that it was begun with.
    corpus_name : callable
        From the hparams of a run (dict) to what reports call its corpus (str). Scores
        of runs with another name are not ranked with it.
    epoch_marks : callable
        From the hparams of a run (dict) to what learning curves mark: a list of
        (epoch, text). Raises ValueError if they are not valid.
    """

    folder: Path
    kinds: dict
    free_keys: tuple
    measures: Measures
    models: dict = field(default_factory=dict)
    corpus_digest: Callable[[str], str] = lambda data_folder: ""
    corpus_name: Callable[[dict], str] = lambda hparams: ""
    epoch_marks: Callable[[dict], list] = lambda hparams: []
