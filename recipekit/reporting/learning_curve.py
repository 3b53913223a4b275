"""The learning curve of a run as a PNG, or those of several in one."""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from recipekit.files.atomic import replacing
from recipekit.training.history import read_history

LOSS = "loss"


def plot_learning_curve(history, best_epoch, marks, path, title, measures):
    """Draws a score in training and validation, and the learning rate, over epochs.

    Arguments
    ---------
    history : list of dict
        Entries of ``history.json``; the score is ``shared_score``'s.
    best_epoch : int
        The epoch with the highest monitored score.
    marks : list of (int, str)
        Epochs to mark, and what to write there.
    path : str or Path
        PNG to write.
    title : str
    measures : Measures
        Name and unit of the score.
    """
    name = shared_score(history)
    epochs = [entry["epoch"] for entry in history]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for part, label, color in (
        ("train", "training", "tab:gray"),
        ("valid", "validation", "tab:blue"),
    ):
        scores = [entry[part][name] for entry in history]
        axes.plot(epochs, scores, marker=".", label=label, color=color)
    best_score = history[best_epoch - 1]["valid"][name]
    axes.plot(
        best_epoch,
        best_score,
        "o",
        mfc="none",
        color="tab:blue",
        label=f"best: {measures.with_unit(best_score)}",
    )
    mark_epochs(axes, marks, epochs[-1], "tab:green", ":")
    axes.set(xlabel="epoch", ylabel=measures.label(name), title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    rates = axes.twinx()
    rates.plot(
        epochs,
        [entry["lr"] for entry in history],
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


def shared_score(history):
    """Returns the name of the score that training and validation both log.

    That is the first one; the loss only if there is no other.

    Arguments
    ---------
    history : list of dict
        Entries of ``history.json``.

    Raises
    ------
    ValueError
        If there is none in all epochs.
    """
    parts = [entry[part] for entry in history for part in ("train", "valid")]
    names = [name for name in parts[0] if all(name in part for part in parts)]
    if not names:
        raise ValueError("no score is logged of both training and validation")
    return next((name for name in names if name != LOSS), LOSS)


def mark_epochs(axes, marks, last, color, style):
    """Marks epochs with vertical lines and texts.

    Arguments
    ---------
    axes : matplotlib.axes.Axes
        With epochs on the x axis.
    marks : list of (int, str)
        Epochs and texts.
    last : int
        The last epoch drawn; later marks are left out.
    color, style : str
        Of the lines.
    """
    for epoch, text in marks:
        if epoch > last:
            continue
        axes.axvline(epoch, color=color, lw=0.8, ls=style)
        axes.annotate(
            text,
            (epoch, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -3),
            textcoords="offset points",
            va="top",
            fontsize=7,
            color=color,
        )


def plot_overlay(folders, path, measures):
    """Draws the learning curves of several runs over the examples they saw.

    Arguments
    ---------
    folders : list of str or Path
        Output folders of runs of one recipe; the last two parts are the labels.
    path : str or Path
        PNG to write.
    measures : Measures
        Name and unit of the score.

    Raises
    ------
    ValueError
        Naming a history that cannot be read, or if the runs share no score.
    """
    histories = [read_history(folder) for folder in folders]
    name = shared_score([entry for entries in histories for entry in entries])
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (folder, entries) in enumerate(zip(folders, histories, strict=True)):
        examples = [entry["examples"] for entry in entries]
        for part, style in (("train", ":"), ("valid", "-")):
            scores = [entry[part][name] for entry in entries]
            label = "/".join(Path(folder).resolve().parts[-2:])
            label = label if part == "valid" else None
            axes.plot(
                examples, scores, style, marker=".", color=f"C{number}", label=label
            )
    axes.set(
        xlabel="training examples",
        ylabel=measures.label(name),
        title="validation (lines) and training (dots)",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def draw_overlay(arguments, measures):
    """Draws the learning curves of several runs into one PNG.

    Arguments
    ---------
    arguments : list of str
        Those of the command.
    measures : Measures
    """
    parser = argparse.ArgumentParser(
        description="Draws the learning curves of several runs into one PNG."
    )
    parser.add_argument("runs", nargs="+", help="output folders")
    parser.add_argument("--out", required=True, help="PNG to write")
    options = parser.parse_args(arguments)
    plot_overlay(options.runs, options.out, measures)
    print(options.out)
