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
        How pictures and sentences name it: a study's best as that.
    runs : tuple of Run
        By seed.
    studies : tuple of str
        That validated it.
    best_of : tuple of str
        Those of them whose best it is.
    """

    model: str
    name: str
    label: str
    runs: tuple
    studies: tuple = ()
    best_of: tuple = ()

    @property
    def corpus(self):
        """The name of the corpus of its runs; empty where it is not known."""
        return self.runs[0].settings["corpus"]

    @property
    def scores(self):
        """The best monitored score of each run."""
        return [run.score for run in self.runs]

    @property
    def tested(self):
        """The test results of those of its runs that were tested."""
        return [run.tested for run in self.runs if run.tested is not None]


def group_settings(runs, validated=()):
    """Groups runs into settings.

    Arguments
    ---------
    runs : list of Run
    validated : sequence of (str, set of Path, bool)
        Of each configuration that a study validated: the study, the folders of its
        runs, resolved, and whether it is the study's best.

    Returns
    -------
    settings : list of Setting
        By model, the best first.
    repeated : list of str
        Runs left out because another one has their setting and seed: they say nothing
        new of the seeds.
    """
    groups, folders, repeated = {}, {}, []
    for run in sorted(runs, key=lambda run: (run.tested is None, str(run.folder))):
        key = run.model, repr(sorted(run.settings.items()))
        group = groups.setdefault(key, {})
        folders.setdefault(key, set()).add(run.folder.resolve())
        if run.seed in group:
            twin = group[run.seed].folder
            repeated.append(f"{run.folder}: has the setting and the seed of {twin}")
        else:
            group[run.seed] = run
    by_model = {}
    for key, group in sorted(groups.items()):
        found = [each for each in validated if each[1] & folders[key]]
        studies = tuple(dict.fromkeys(study for study, _, _ in found))
        best_of = tuple(study for study, _, is_best in found if is_best)
        runs = [group[seed] for seed in sorted(group)]
        # Of what ledgers alone tell of, the model is not known: it may be the same.
        members = by_model.setdefault(runs[0].model if runs[0].history else "", [])
        members.append((runs, studies, best_of))
    settings = []
    for members in by_model.values():
        members.sort(key=lambda each: -sum(run.score for run in each[0]) / len(each[0]))
        names = _names([runs[0].settings for runs, _, _ in members])
        short = max(map(len, names)) <= LONGEST_NAME and len(set(names)) == len(names)
        for number, (name, member) in enumerate(zip(names, members, strict=True), 1):
            runs, studies, best_of = member
            model = runs[0].model
            label = f"{model} ({name})" if short else f"{model} {number}"
            label = label if len(names) > 1 else model
            label = " and ".join(f"{study}'s best" for study in best_of) or label
            settings.append(Setting(model, name, label, tuple(runs), studies, best_of))
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
