"""A method's search space: the values of its hyper-parameters worth trying, from its class."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Any

from tiebreak.errors import UserError
from tiebreak.methods import METHODS


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return ", ".join(str(value) for value in self.values)


@dataclass(frozen=True)
class Interval:
    """Any number from `low` to `high`; `log`: even in its logarithm."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (" (log)" if self.log else "")


Space = dict[str, Choice | Interval]


@functools.cache
def search_space(method: str) -> Space:
    """Hyper-parameter -> values to try, as the method's class gives them; UserError when one is no
    space."""
    return {
        field.name: dimension(f"search of {field.name}", field.metadata["search"], method)
        for field in dataclasses.fields(METHODS[method])
        if field.metadata["search"] is not None
    }


def dimension(key: str, value: Any, where: str) -> Choice | Interval:
    """The values to try of one key, given as a list or as {low, high, log}; UserError for others.

    where: the file or the method that gives them, for the error.
    """
    if isinstance(value, list) and value:
        return Choice(tuple(value))
    if isinstance(value, dict) and {"low", "high"} <= set(value) <= {"low", "high", "log"}:
        low, high, log = value["low"], value["high"], value.get("log", False)
        numbers = all(isinstance(v, int | float) and math.isfinite(v) for v in (low, high))
        if numbers and low < high and (low > 0 or not log):
            return Interval(low, high, bool(log))
    raise UserError(
        f"{where}: {key}={value!r} is not a space; give a list of values, or "
        "{low: 0.1, high: 1, log: true} with low < high"
    )
