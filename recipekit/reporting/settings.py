"""Which runs are seeds of one setting, and how settings are named."""

from dataclasses import dataclass

LONGEST_NAME = 40  # letters of a setting in a label; longer ones get a number


@dataclass(frozen=True)
class Setting:
    """Runs that differ in their seed only.

    Attributes
    ----------
    model : str
    name : str
        What differs between the settings of this model; empty if there is one only.
    label : str
        How pictures and sentences name it.
    runs : tuple of Run
        By seed.
    """

    model: str
    name: str
    label: str
    runs: tuple

    @property
    def tested(self):
        """The test results of those of its runs that were tested."""
        return [run.tested for run in self.runs if run.tested is not None]


def group_settings(runs):
    """Groups runs into settings.

    Arguments
    ---------
    runs : list of Run

    Returns
    -------
    settings : list of Setting
        By model, the best first.
    repeated : list of str
        Runs left out because another one has their setting and seed: they say nothing
        new of the seeds.
    """
    groups, repeated = {}, []
    for run in sorted(runs, key=lambda run: (run.tested is None, str(run.folder))):
        group = groups.setdefault((run.model, repr(sorted(run.settings.items()))), {})
        if run.seed in group:
            twin = group[run.seed].folder
            repeated.append(f"{run.folder}: has the setting and the seed of {twin}")
        else:
            group[run.seed] = run
    by_model = {}
    for (model, _), group in sorted(groups.items()):
        by_model.setdefault(model, []).append([group[seed] for seed in sorted(group)])
    settings = []
    for model, members in by_model.items():
        members.sort(key=lambda runs: -sum(run.score for run in runs) / len(runs))
        names = _names([runs[0].settings for runs in members])
        short = max(map(len, names)) <= LONGEST_NAME and len(set(names)) == len(names)
        for number, (name, group) in enumerate(zip(names, members, strict=True), 1):
            label = f"{model} ({name})" if short else f"{model} {number}"
            label = label if len(names) > 1 else model
            settings.append(Setting(model, name, label, tuple(group)))
    return settings, repeated


def _names(settings):
    """Returns what differs between settings, for each of them.

    Keys that some lack, which are of an earlier version, count where the others differ.
    """
    keys = dict.fromkeys(key for each in settings for key in each)
    differing = [
        key
        for key in keys
        if len({repr(each[key]) for each in settings if key in each}) > 1
    ]
    return [
        ", ".join(f"{key} {_value_text(each.get(key))}" for key in differing)
        for each in settings
    ]


def _value_text(value):
    """Returns the value of a key as text, mappings and lists included."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return " ".join(f"{key} {_value_text(each)}" for key, each in value.items())
    if isinstance(value, list):
        nested = any(isinstance(each, dict) for each in value)
        return ("; " if nested else " ").join(map(_value_text, value))
    return "none" if value is None else str(value)
