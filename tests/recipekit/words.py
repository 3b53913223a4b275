"""A recipe that shares nothing with others: words, told or missed."""

from pathlib import Path

from recipekit.files import keyed
from recipekit.recipe import Recipe
from recipekit.scoring.measures import Measures, Metric
from recipekit.scoring.summary import write_results
from recipekit.training.history import write_history

MEASURES = Measures(
    metrics={"accuracy": Metric("accuracy", interval=True), "f1": Metric("F1")},
    describing=("id", "room", "words"),
    condition="room",
    conditions=("quiet", "loud"),
    whole=("quiet", "loud"),
    compared="accuracy",
    monitored="accuracy on the validation set",
)
RECIPE = Recipe(
    folder=Path(__file__).parent,
    kinds={},
    free_keys=("beam",),
    measures=MEASURES,
    models={"Listener": "Listener"},
    corpus_name=lambda hparams: hparams["speech"],
)
HPARAMS = """
seed: {seed}
lr: {lr}
beam: {seed}
speech: digits
N_epochs: 2
modules: {{model: !new:words.Listener {{inner: !new:torch.nn.Linear {{}}}}}}
"""


def write_run(folder, seed, lr, level):
    """Writes a run that tells words with an accuracy of about ``level``."""
    folder.mkdir(parents=True)
    text = HPARAMS.format(seed=seed, lr=lr)
    (folder / "hyperparams.yaml").write_text(text, encoding="utf-8")
    entries = [
        {"epoch": epoch, "examples": 10 * epoch, "lr": lr, "skipped": 0}
        | {"score": level - 0.1 / epoch, "seconds": 5.0}
        | {"train": {"loss": 1 / epoch}, "valid": {"loss": 2 / epoch}}
        for epoch in (1, 2)
    ]
    write_history(folder, entries)
    rows = [
        {"id": f"{number:02}", "room": room, "words": number % 3}
        | {"accuracy": keyed.uniform(level, level + 0.1, seed, lr, number), "f1": 0.5}
        for number in range(40)
        for room in MEASURES.conditions
    ]
    provenance = {"corpus": "digits", "seconds": 10}
    write_results(rows, folder, MEASURES, provenance)
