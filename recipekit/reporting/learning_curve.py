"""The learning curve of a run as a PNG, or those of several in one.

python curve.py results/dprnn/123 results/convtasnet/123 --out curves.png
"""

import argparse
import re
import sys
from pathlib import Path

from matplotlib.figure import Figure

from recipekit.console import plain_errors
from recipekit.files.atomic import replacing
from recipekit.files.csvs import check_text

NEEDED = ("epoch", "lr", "train si_sdr", "valid si_sdr")  # in each line of a log
PAIR = r"(\w[\w ]*): ([^\s,]+)"  # a name and its value in SpeechBrain's train_log.txt


def plot_learning_curve(history, best_epoch, curriculum, path, title):
    """Draws training and validation SI-SDR and the learning rate over epochs.

    Arguments
    ---------
    history : list of dict
        One entry per epoch, with ``stats_meta`` (epoch, lr), ``train_stats``
        (si_sdr) and ``valid_stats`` (si_sdr, si_sdri) as given to train loggers.
    best_epoch : int
        The epoch with the highest monitored score.
    curriculum : Curriculum
        Its stages are marked.
    path : str or Path
        PNG to write.
    title : str
    """
    epochs = [entry["stats_meta"]["epoch"] for entry in history]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for stats, label, color in (
        ("train_stats", "training (variants of the curriculum)", "tab:gray"),
        ("valid_stats", "validation", "tab:blue"),
    ):
        scores = [entry[stats]["si_sdr"] for entry in history]
        axes.plot(epochs, scores, marker=".", label=label, color=color)
    best_score = history[best_epoch - 1]["valid_stats"]["si_sdr"]
    axes.plot(
        best_epoch,
        best_score,
        "o",
        mfc="none",
        color="tab:blue",
        label=f"best: {best_score:.2f} dB",
    )
    mark_stages(axes, curriculum, epochs[-1], "tab:green", ":")
    axes.set(xlabel="epoch", ylabel="SI-SDR (dB)", title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    rates = axes.twinx()
    rates.plot(
        epochs,
        [entry["stats_meta"]["lr"] for entry in history],
        drawstyle="steps-post",
        color="tab:orange",
        lw=0.8,
        label="learning rate",
    )
    rates.set(ylabel="learning rate", yscale="log")
    handles = [*axes.lines[:3], *rates.lines]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def mark_stages(axes, curriculum, last, color, style):
    """Marks where stages of a curriculum begin, with their variants.

    Arguments
    ---------
    axes : matplotlib.axes.Axes
        With epochs on the x axis.
    curriculum : Curriculum
    last : int
        The last epoch drawn; later stages are left out.
    color, style : str
        Of the lines.
    """
    for stage in curriculum.stages:
        if stage["epoch"] > last:
            break
        axes.axvline(stage["epoch"], color=color, lw=0.8, ls=style)
        axes.annotate(
            " ".join(stage["variants"]),
            (stage["epoch"], 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -3),
            textcoords="offset points",
            va="top",
            fontsize=7,
            color=color,
        )


def read_log(folder):
    """Reads what a run's train_log.txt says of each epoch.

    Arguments
    ---------
    folder : str or Path
        The run's output folder.

    Returns
    -------
    list of dict
        One entry per epoch: the log's names and numbers, such as ``train si_sdr``,
        ``valid si_sdr`` and, since version 0.2, ``examples``.

    Raises
    ------
    ValueError
        If the log holds no epoch, or a line of it is not one's.
    """
    path = Path(folder) / "train_log.txt"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected the output folder of a run")
    check_text(path)
    entries = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        try:
            entry = {name: float(value) for name, value in re.findall(PAIR, line)}
            missing = [name for name in NEEDED if name not in entry]
        except ValueError as error:
            missing = [str(error)]
        if missing:
            raise ValueError(
                f"{path}, line {number}: is no epoch's ({', '.join(missing)}); "
                "expected a line as train.py writes it"
            )
        entries.append(entry)
    if not entries:
        raise ValueError(f"{path}: no epoch has ended yet")
    return entries


def plot_overlay(folders, path):
    """Draws the learning curves of several runs over the examples they saw.

    If one of them is of version 0.1, which did not log these, over epochs.

    Arguments
    ---------
    folders : list of str or Path
        Output folders of runs; their names are the labels.
    path : str or Path
        PNG to write.
    """
    logs = [read_log(folder) for folder in folders]
    told = all("examples" in entry for entries in logs for entry in entries)
    progress = "examples" if told else "epoch"
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (folder, entries) in enumerate(zip(folders, logs, strict=True)):
        examples = [entry[progress] for entry in entries]
        for stats, style in (("train", ":"), ("valid", "-")):
            scores = [entry[f"{stats} si_sdr"] for entry in entries]
            label = Path(folder).resolve().name if stats == "valid" else None
            axes.plot(
                examples, scores, style, marker=".", color=f"C{number}", label=label
            )
    axes.set(
        xlabel="training examples" if told else "epoch",
        ylabel="SI-SDR (dB)",
        title="validation (lines) and training (dots)",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def main(arguments):
    """Draws the learning curves of several runs into one PNG."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("runs", nargs="+", help="output folders")
    parser.add_argument("--out", required=True, help="PNG to write")
    options = parser.parse_args(arguments)
    plot_overlay(options.runs, options.out)
    print(options.out)


if __name__ == "__main__":
    with plain_errors():
        sys.exit(main(sys.argv[1:]))
