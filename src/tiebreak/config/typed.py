"""Plain YAML values -> frozen dataclasses, with one clear error per mistake."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

from tiebreak.errors import UserError, nearest


def typed(cls: type, values: Any, where: str) -> Any:
    """Build `cls` from a mapping; every field must be given, and no other."""
    if not isinstance(values, Mapping):
        raise UserError(f"{where} must be a group of keys, got {values!r}")
    hints = _hints(cls)
    names = [f.name for f in dataclasses.fields(cast(Any, cls))]
    for key in values:
        if key not in names:
            raise UserError(f"unknown key {where}.{key}{nearest(str(key), names)}")
    missing = [name for name in names if name not in values]
    if missing:
        raise UserError(f"{where}.{missing[0]} is missing; give {where}.{missing[0]}=VALUE")
    return cls(**{name: _value(hints[name], values[name], f"{where}.{name}") for name in names})


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def untyped(value: Any) -> Any:
    """The plain values of a dataclass, each in its field's type: 1 and 1.0 become the same."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: untyped(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [untyped(one) for one in value]
    return str(value) if isinstance(value, StrEnum) else value


def _value(kind: Any, value: Any, where: str) -> Any:
    if value == "???":
        raise UserError(f"{where} has no value; give {where}=VALUE")
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        inner = [k for k in typing.get_args(kind) if k is not type(None)]
        return None if value is None else _value(inner[0], value, where)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where}={value!r} is not a list; write [a, b]")
        return tuple(_value(typing.get_args(kind)[0], v, where) for v in value)
    if dataclasses.is_dataclass(kind):
        return typed(cast(type, kind), value, where)
    if issubclass(kind, StrEnum):
        options = [str(k) for k in kind]
        if value not in options:
            hint = nearest(str(value), options)
            raise UserError(f"{where}={value!r} is not one of {', '.join(options)}{hint}")
        return kind(value)
    return _scalar(kind, value, where)


_WORDS: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
}


def _scalar(kind: type, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise UserError(f"{where}={value!r} is not a finite number")
        return float(value)
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if type(value) is not kind:
        raise UserError(f"{where}={value!r} is not {_WORDS[kind]}")
    return value
