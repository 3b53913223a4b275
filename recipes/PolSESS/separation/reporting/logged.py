"""The logged study, and a worked example: which of its gaps exceed those of seeds."""

from pathlib import Path

import numpy as np
import pandas as pd

from recipe import MEASURES
from recipekit.reporting.comparison import DIFFERENT, Gap, judge
from recipekit.reporting.document import Section, Table, Text
from recipekit.reporting.searches import LoggedStudy
from recipekit.scoring import statistics

LOGGED = Path(__file__).parent / "logged.csv"
# The three-stage search of DPRNN; sweeps/three_stage.yaml repeats it.
STUDY = LoggedStudy(
    reference="three_stage",
    correlations={
        "weight_decay": -0.27,
        "lr": 0.12,
        "grad_clip_norm": -0.01,
        "lr_factor": 0.23,
    },
)

ABOUT = (
    "The study of PolSESS that this recipe builds on logged three seeds of five "
    "settings, as validation SI-SDR in dB on the full mixtures (task SB), and never "
    "asked whether its gaps exceed those between seeds. Here each two settings are "
    "compared by their three seeds, corrected for ten pairs (Holm). All have the seeds "
    "42, 123 and 456, which are pairs within a model, so that both settings of DPRNN "
    "are compared by a paired t-test, and the others by Welch's. The tests ask for "
    "other seeds only: for each run there is one number, over the same recordings."
)


def section():
    """Returns the section of the worked example."""
    logged = pd.read_csv(LOGGED)
    groups = {
        names: dict(zip(group["seed"], group["si_sdr"], strict=True))
        for names, group in logged.groupby(["model", "setting"], sort=False)
    }
    rows = []
    for (model, setting), by_seed in groups.items():
        scores = [*by_seed.values()]
        low, high = statistics.mean_of(scores).interval
        row = {"model": model, "setting": setting}
        row["seeds 42 / 123 / 456"] = " / ".join(f"{score:.2f}" for score in scores)
        row |= {"mean": np.mean(scores), "std": np.std(scores, ddof=1)}
        rows.append(row | {"low": low, "high": high})
    gaps = compare_models({model: by_seed for (model, _), by_seed in groups.items()})
    different = int((gaps["judgement"] == DIFFERENT).sum())
    blocks = (
        Text(ABOUT),
        Table("logged", "The logged scores", pd.DataFrame(rows)),
        Text(f"{different} of the {len(gaps)} gaps are told from chance."),
        Table("logged_gaps", "Their differences in dB", gaps, decimals=3),
    )
    return Section("logged", "Worked example: the logged baselines", blocks)


def compare_models(scores):
    """Compares each two settings by their seeds alone.

    Arguments
    ---------
    scores : dict
        Label -> dict from seed to score, of two or more seeds; the label's first word
        is the model.

    Returns
    -------
    pandas.DataFrame
        One row a pair, as from ``comparison.judge``.
    """
    ordered = sorted(scores, key=lambda label: -np.mean([*scores[label].values()]))
    found = statistics.crossed(
        {label: scores[label] for label in ordered},
        {label: label.split()[0] for label in ordered},
    )
    gaps = [
        Gap(pair, gap, tuple(len(scores[label]) for label in pair), gap)
        for pair, gap in found.items()
    ]
    return judge(gaps, MEASURES.unit, MEASURES.margin)
