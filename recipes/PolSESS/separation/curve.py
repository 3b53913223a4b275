"""The learning curve of a run as a PNG."""

from matplotlib.figure import Figure

from corpus.atomic import replacing


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
    for stage in curriculum.stages:
        if stage["epoch"] > epochs[-1]:
            break
        axes.axvline(stage["epoch"], color="tab:green", lw=0.8, ls=":")
        axes.annotate(
            " ".join(stage["variants"]),
            (stage["epoch"], 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -3),
            textcoords="offset points",
            va="top",
            fontsize=7,
            color="tab:green",
        )
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
