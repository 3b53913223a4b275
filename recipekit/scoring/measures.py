"""What a recipe measures: metrics, the conditions of its test, what it compares by."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Metric:
    """A score of a test recording; higher is better.

    Attributes
    ----------
    title : str
        Heading of its column.
    decimals : int
        That are shown.
    interval : bool
        Whether tables show its 95 % interval.
    """

    title: str
    decimals: int = 2
    interval: bool = False


@dataclass(frozen=True)
class Measures:
    """Names of what a test writes and what its readers look for.

    Attributes
    ----------
    metrics : dict
        Column of test_results.csv -> Metric, in the order of the tables.
    describing : tuple of str
        The columns that say which recording a row is of; the first two are ``id`` and
        ``condition``.
    condition : str
        The column of the condition in which a recording was tested.
    conditions : tuple of str
        Its values, in the order of the tables.
    whole : tuple of str
        The conditions that together are the recordings as they are.
    compared : str
        The metric by which settings are compared.
    improvement : str or None
        The metric that is ``compared`` minus the same metric of the unprocessed
        recording, if there is one.
    unit : str
        Of the monitored score, such as dB.
    monitored : str
        What the monitored score is, in words.
    margin : float
        Differences of ``compared`` below it do not matter: settings that are surely
        within it count as equivalent.
    units : dict
        What recordings share, so that their scores are alike: a plural, such as
        ``"rooms"``, -> the columns that name a recording's. They may be empty.
    noted : tuple of str
        Other columns that describe a recording and may be empty.
    """

    metrics: dict
    describing: tuple
    condition: str
    conditions: tuple
    whole: tuple
    compared: str
    improvement: str | None = None
    unit: str = ""
    monitored: str = "score"
    margin: float = 0.1
    units: dict = field(default_factory=dict)
    noted: tuple = ()

    @property
    def columns(self):
        """All columns of a test that describe its recordings, in their order."""
        units = [name for columns in self.units.values() for name in columns]
        return (*self.describing, *units, *self.noted)

    def units_of(self, rows):
        """Returns what rows of a test share.

        Arguments
        ---------
        rows : pandas.DataFrame

        Returns
        -------
        dict
            Kind of unit -> names [rows, columns], for each kind that is known of every
            row.
        """
        found = {}
        for kind, columns in self.units.items():
            names = rows.reindex(columns=list(columns))
            if len(names) and not (names.isna() | (names == "")).any(axis=None):
                found[kind] = names.astype(str).to_numpy()
        return found

    @property
    def whole_name(self):
        """The name of the group of the recordings as they are."""
        return "+".join(self.whole)

    @property
    def mean_name(self):
        """The name of the mean in which each condition counts alike."""
        return f"mean of {self.condition}s"

    @property
    def gain(self):
        """The metric that says what a model adds: the improvement if there is one."""
        return self.improvement or self.compared

    def label(self, name):
        """Returns a score as the label of an axis: its title, and its unit.

        Arguments
        ---------
        name : str
            A metric, or another score of a history, such as the loss.
        """
        if name not in self.metrics:
            return name
        title = self.metrics[name].title
        return f"{title} ({self.unit})" if self.unit else title

    def with_unit(self, value):
        """Returns a score with two decimals and its unit."""
        return f"{value:.2f} {self.unit}".rstrip()
