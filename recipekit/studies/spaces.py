"""Priors of searched keys, written as Oríon writes them."""

import ast
import math
import re
from dataclasses import dataclass, replace

EXAMPLE = (
    "expected one of uniform(0.5, 20), loguniform(3e-4, 3e-3), "
    "uniform(1, 5, discrete=True) and choices(['adam', 'sgd'])"
)


@dataclass(frozen=True)
class Prior:
    """What values a key may have in a search.

    Attributes
    ----------
    low, high : float or None
        Bounds, both included; None for choices.
    log : bool
        Whether values are uniform in their logarithm.
    integer : bool
    choices : tuple or None
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    choices: tuple | None = None

    @classmethod
    def parse(cls, key, text):
        """Reads a prior.

        Arguments
        ---------
        key : str
            Whose prior it is, for the error.
        text : str
            For example ``loguniform(3e-4, 3e-3)``.

        Raises
        ------
        ValueError
            If it is not a valid prior.
        """
        try:
            name, inside = re.fullmatch(r"(\w+)\((.*)\)", str(text).strip()).groups()
            call = ast.parse(f"f({inside})", mode="eval").body
            values = [ast.literal_eval(value) for value in call.args]
            options = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
            integer = options.pop("discrete", False)
            if name == "choices":
                (choices,) = values
                prior = cls(choices=tuple(choices))
            else:
                low, high = values
                log = {"uniform": False, "loguniform": True}[name]
                prior = cls(float(low), float(high), log, integer)
            valid = prior.choices or (low < high and not (log and low <= 0))
            if options or not valid or call.func.id != "f":
                raise ValueError
        except (AttributeError, SyntaxError, TypeError, ValueError, KeyError):
            raise ValueError(
                f"space, {key}: {text!r} is not a valid prior; {EXAMPLE}"
            ) from None
        return prior

    def __str__(self):
        """Returns the prior as Oríon reads it."""
        if self.choices is not None:
            return f"choices({list(self.choices)!r})"
        name = "loguniform" if self.log else "uniform"
        if self.integer:
            return f"{name}({self.low:.0f}, {self.high:.0f}, discrete=True)"
        return f"{name}({self.low:.6g}, {self.high:.6g})"

    @property
    def bounds(self):
        """The lowest and the highest value."""
        kind = round if self.integer else float
        return kind(self.low), kind(self.high)

    def middle(self):
        """Returns a value from the middle of the bounds, or the first choice."""
        if self.choices is not None:
            return self.choices[0]
        if self.integer:
            return round((self.low + self.high) / 2)
        middle = (self.low + self.high) / 2
        if self.log:
            middle = math.sqrt(self.low * self.high)
        return float(f"{middle:.3g}")

    def unit(self, value):
        """Returns where a value lies within the bounds, 0..1, in log where log is; one
        outside of them at the nearest.
        """
        scale = math.log if self.log else float
        low, high = scale(self.low), scale(self.high)
        value = scale(min(max(value, self.low), self.high))
        return (value - low) / (high - low)

    def at(self, part, digits):
        """Returns the value at a part (0..1) of the range; reals have some digits."""
        if self.choices is not None:
            return self.choices[
                min(int(part * len(self.choices)), len(self.choices) - 1)
            ]
        low, high = self._range()
        if self.log:
            value = math.exp(math.log(low) + part * math.log(high / low))
        else:
            value = low + part * (high - low)
        if self.integer:
            return min(math.floor(value), int(self.high))
        return min(max(float(f"{value:.{digits}g}"), self.low), self.high)

    def part(self, value):
        """Returns at which part of the range a value is, the middle of those where
        ``at`` returns it; of a value outside the bounds, the nearest.
        """
        if self.choices is not None:
            return (self.choices.index(value) + 0.5) / len(self.choices)
        value = min(max(value, self.low), self.high) + 0.5 * self.integer
        scale = math.log if self.log else float
        low, high = map(scale, self._range())
        return (scale(value) - low) / (high - low)

    def _range(self):
        """Returns the range of which integers have equal shares."""
        return self.low, self.high + self.integer

    def contains(self, value):
        """Returns whether a value is within the bounds, or one of the choices."""
        if self.choices is not None:
            return value in self.choices
        return self.low <= value <= self.high

    def distance(self, first, second):
        """Returns how far two values are apart, 0..1; choices are equal or not."""
        if self.choices is not None:
            return float(first != second)
        return abs(self.part(first) - self.part(second))

    def narrowed(self, low, high):
        """Returns the prior with other bounds, clipped to the present ones; those
        that lie outside of them change nothing.

        Bounds have six digits; integers are widened to whole numbers, and bounds that
        fall together are moved apart by a hundredth of the present range (of its
        logarithm where log is), or by one where integer.
        """
        if self.choices is not None:
            return self
        if self.integer:
            low, high = math.floor(low), math.ceil(high)
        if low >= high:
            if self.integer:
                low, high = low - 1, high + 1
            elif self.log:
                wider = (self.high / self.low) ** 0.01
                low, high = low / wider, high * wider
            else:
                wider = 0.01 * (self.high - self.low)
                low, high = low - wider, high + wider
        low, high = (float(f"{bound:.6g}") for bound in (low, high))
        low, high = max(low, self.low), min(high, self.high)
        return replace(self, low=low, high=high) if low < high else self


def read_space(mapping):
    """Returns the priors of a mapping from keys to texts."""
    return {key: Prior.parse(key, text) for key, text in mapping.items()}
