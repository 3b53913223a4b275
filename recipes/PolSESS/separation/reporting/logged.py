"""The logged study, and a worked example: which of its gaps exceed those of seeds."""

from itertools import combinations
from pathlib import Path

import pandas as pd

from recipe import MEASURES
from recipekit.reporting.comparison import verdict
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
    "compared by Welch's t-test on their three seeds, corrected for ten pairs (Holm). "
    "All have the seeds 42, 123 and 456, but a seed's number says nothing of how "
    "a model fares with it, so they are not paired. The test asks for other seeds "
    "only: for each run there is one number, over the same recordings."
)


def section():
    """Returns the section of the worked example."""
    logged = pd.read_csv(LOGGED)
    groups = {
        names: group["si_sdr"].to_numpy()
        for names, group in logged.groupby(["model", "setting"], sort=False)
    }
    rows = []
    for (model, setting), scores in groups.items():
        low, high = statistics.mean_of(scores).interval
        row = {"model": model, "setting": setting}
        row["seeds 42 / 123 / 456"] = " / ".join(f"{score:.2f}" for score in scores)
        row |= {"mean": scores.mean(), "std": scores.std(ddof=1)}
        rows.append(row | {"low": low, "high": high})
    by_model = {model: scores for (model, _), scores in groups.items()}
    gaps = compare_models(by_model)
    significant = int((gaps["p, Holm"] < statistics.ALPHA).sum())
    blocks = (
        Text(ABOUT),
        Table("logged", "The logged scores", pd.DataFrame(rows)),
        Text(f"{significant} of the {len(gaps)} gaps are significant."),
        Table("logged_gaps", "Their differences in dB", gaps, decimals=3),
    )
    return Section("logged", "Worked example: the logged baselines", blocks)


def compare_models(scores):
    """Compares each two settings by their seeds alone.

    Arguments
    ---------
    scores : dict
        Label -> scores of two or more seeds.

    Returns
    -------
    pandas.DataFrame
        One row a pair.
    """
    ordered = sorted(scores, key=lambda label: -scores[label].mean())
    pairs = list(combinations(ordered, 2))
    gaps = [statistics.welch(scores[a], scores[b]) for a, b in pairs]
    corrected = statistics.holm([gap.p for gap in gaps])
    rows = []
    for pair, gap, p in zip(pairs, gaps, corrected, strict=True):
        both = [scores[label] for label in pair]
        low, high = gap.interval
        rows.append(
            {
                "in words": verdict(pair, gap, MEASURES.unit, p, both, len(pairs)),
                "difference": gap.value,
                "low": low,
                "high": high,
                "p": gap.p,
                "p, Holm": p,
            }
        )
    return pd.DataFrame(rows)
