"""Plain YAML values -> frozen dataclasses, with one clear error per mistake; and back. Among them
the values of a key that are worth trying: a list is a `Choice`, {low, high, log} an `Interval`.

A field's value at its introduction is its default; a field without one has no such value. Ids and
keys leave out what equals it, and files from before the field are read as if they held it, so a
field that is added with a default renames nothing. Whoever changes a default later gives the old
one as `field(metadata={"introduced": OLD})`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from tiebreak.errors import UserError, nearest
from tiebreak.methods import METHODS
from tiebreak.store import Settings


def typed(cls: type, values: Any, where: str) -> Any:
    """Build `cls` from a mapping; every field without a default must be given, and no other."""
    if not isinstance(values, Mapping):
        raise UserError(f"{where} must be a group of keys, got {values!r}")
    hints = hints_of(cls)
    names = [f.name for f in dataclasses.fields(cast(Any, cls))]
    for key in values:
        if key not in names:
            raise UserError(f"unknown key {where}.{key}{nearest(str(key), names)}")
    values = complete(cls, values)
    missing = [name for name in names if name not in values]
    if missing:
        raise UserError(f"{where}.{missing[0]} is missing; give {where}.{missing[0]}=VALUE")
    return cls(**{name: _value(hints[name], values[name], f"{where}.{name}") for name in names})


def complete(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with each missing field at its value at introduction, as plain values."""
    filled = dict(values)
    for f in dataclasses.fields(cast(Any, cls)):
        inner = _inner(hints_of(cls)[f.name])
        if f.name not in values and introduced(f) is not dataclasses.MISSING:
            filled[f.name] = untyped(introduced(f))
        elif dataclasses.is_dataclass(inner) and isinstance(values.get(f.name), Mapping):
            filled[f.name] = complete(cast(type, inner), values[f.name])
    return filled


def introduced(f: dataclasses.Field) -> Any:
    """A field's value at its introduction; dataclasses.MISSING where it has none."""
    return f.metadata.get("introduced", f.default)


@functools.lru_cache(maxsize=4096)
def settings_of(part: Any, leave_out: frozenset[str] = frozenset()) -> Settings:
    """Plain values of a dataclass for an id or a key: what differs from the value at introduction,
    without the fields named in `leave_out`. Not to be changed: callers share it."""
    fields = dataclasses.fields(part)
    unknown = leave_out - {f.name for f in fields}
    assert not unknown, f"{type(part).__name__} has no {', '.join(sorted(unknown))}"
    return Settings(
        (f.name, settings_of(value) if dataclasses.is_dataclass(value) else untyped(value))
        for f in fields
        if f.name not in leave_out and (value := getattr(part, f.name)) != introduced(f)
    )


def _inner(kind: Any) -> Any:
    """The type inside `X | None`."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return next(k for k in typing.get_args(kind) if k is not type(None))
    return kind


@functools.cache
def hints_of(cls: type) -> dict[str, Any]:
    """The type of every field."""
    return typing.get_type_hints(cls)


def untyped(value: Any) -> Any:
    """The plain values of a dataclass, each in its field's type: 1 and 1.0 become the same."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: untyped(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [untyped(one) for one in value]
    if isinstance(value, Settings):
        return dict(value)
    return str(value) if isinstance(value, StrEnum) else value


def _value(kind: Any, value: Any, where: str) -> Any:
    if value == "???":
        raise UserError(f"{where} has no value; give {where}=VALUE")
    if (inner := _inner(kind)) is not kind:
        return None if value is None else _value(inner, value, where)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where}={value!r} is not a list; write [a, b]")
        return tuple(_value(typing.get_args(kind)[0], v, where) for v in value)
    if kind is Settings:
        return _table(value, where)
    if dataclasses.is_dataclass(kind):
        return typed(cast(type, kind), value, where)
    if issubclass(kind, StrEnum):
        options = [str(k) for k in kind]
        if value not in options:
            hint = nearest(str(value), options)
            raise UserError(f"{where}={value!r} is not one of {', '.join(options)}{hint}")
        return kind(value)
    return _scalar(kind, value, where)


def _table(value: Any, where: str) -> Settings:
    """Names of somebody else's choice with plain values."""
    if not isinstance(value, Mapping):
        raise UserError(f"{where}={value!r} is not a group; write {{NAME: VALUE}}")
    table = Settings(value)
    try:
        hash(table)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    return table


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise UserError(f"{where}={value!r} is not a finite number")
        return float(value)
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if type(value) is not kind:
        raise UserError(f"{where}={value!r} is not {_WORDS[kind]}")
    return value


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
    where: the file or the method that gives them, for the error."""
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
