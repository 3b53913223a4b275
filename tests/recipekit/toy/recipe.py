"""A recipe of another corpus, task and loss: which of three tones is in the noise."""

from pathlib import Path

from recipekit.recipe import Recipe
from recipekit.scoring.measures import Measures, Metric

NOISES = ("quiet", "loud")
RECIPE = Recipe(
    folder=Path(__file__).resolve().parent,
    kinds={},
    free_keys=(),
    measures=Measures(
        metrics={
            "likelihood": Metric("log-likelihood", interval=True),
            "accuracy": Metric("accuracy"),
        },
        describing=("id", "noise", "tone"),
        condition="noise",
        conditions=NOISES,
        whole=NOISES,
        compared="likelihood",
        unit="nat",
        monitored="mean log-likelihood of the validation",
    ),
    models={"Linear": "linear"},
)
