"""The single files of a record, read and checked: JSON, settings, logs, and tables as pyarrow's."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml

from tiebreak.track.record_format import GENERATIONS, THROUGHPUT, foreign_format

if TYPE_CHECKING:
    import pyarrow as pa

NOT_SETTINGS = ("seed", "tracker")  # parts of a config that are no hyper-parameter
TEXTS = ("id", "prompt", "before", "after")

Setting = str | int | float | bool | None
Settings = dict[str, Setting]
Read = Callable[[str], bytes]
"""Gives a file by its name. Raises OSError; FileNotFoundError where it is missing."""
Row = Mapping[str, Any]


class Unreadable(ValueError):
    """Why one record, or one file of it, cannot be used. Caught where runs are counted."""


class Missing(Unreadable):
    """A file that is not there."""


def json_file(name: str, read: Read) -> dict[str, Any]:
    """The object in a JSON file of a record. Unreadable: damaged, or of another format."""
    found = parsed(name, read, _object)
    if (why := foreign_format(found.get("format"))) is not None:
        raise Unreadable(why)
    return found


def _object(text: str) -> dict[str, Any]:
    return mapping(json.loads(text, parse_constant=_refuse))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number that JSON has")


def mapping(found: Any) -> dict[str, Any]:
    """`found` itself. Unreadable: it is no object."""
    if not isinstance(found, dict):
        raise Unreadable(f"holds {type(found).__name__}, not an object")
    return found


_SEED_LINE = re.compile(r"^seed: -?\d+\n", re.MULTILINE)


def config_settings(text: str) -> Settings:
    """Settings of `config.yaml`. Runs of one group differ in the line of the seed, which is no
    setting: they are parsed once and share one object."""
    return _settings_of(_SEED_LINE.sub("", text, count=1))


@lru_cache(maxsize=4096)
def _settings_of(text: str) -> Settings:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times faster
    return settings(mapping(yaml.load(text, loader)))


def settings(config: Mapping[str, Any], above: str = "") -> Settings:
    """A resolved config as dotted keys, without what is no setting."""
    flat: Settings = {}
    for key, value in config.items():
        name = f"{above}{key}"
        if name in NOT_SETTINGS:
            continue
        if isinstance(value, dict):
            flat |= settings(value, f"{name}.")
        elif value is None or isinstance(value, (bool, int, float, str)):
            flat[name] = value
        else:
            flat[name] = json.dumps(value, default=str)
    return flat


def parsed(name: str, read: Read, parse: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    found = content(name, read)
    try:
        return parse(found.decode())
    except Unreadable as error:
        raise Unreadable(f"{name} {error}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise Unreadable(f"{name} cannot be read: {' '.join(str(error).split())}") from None


def content(name: str, read: Read) -> bytes:
    """The bytes of one file; Unreadable says what is wrong with it, and names no folder."""
    try:
        return read(name)
    except FileNotFoundError:
        raise Missing(f"{name} is missing") from None
    except OSError as error:  # the full text of one with a number names a path of this machine
        raise Unreadable(f"{name} cannot be read: {error.strerror or error}") from None


def log_rows(name: str, text: bytes) -> list[Row]:
    """The rows of a log with a row per line; a last line torn by a kill is dropped, as a resumed
    run drops it. Unreadable: a line is damaged, or its step does not follow the one before."""
    whole = text[: text.rfind(b"\n") + 1]
    rows: list[Row] = []
    last = 0
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            row = json.loads(line)
            step = row["step"]
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"{name}:{number} cannot be read: {error}") from None
        if type(step) is not int or step <= last:
            raise Unreadable(f"{name}:{number} is of step {step!r}, after step {last}")
        rows.append(row)
        last = step
    return rows


def throughput(read: Read) -> dict[str, float]:
    """`seconds` of all steps together, `response_tokens/s` over them, `memory/peak` in MiB.

    Empty where there is no `throughput.jsonl`, or a damaged one.
    """
    try:
        rows = log_rows(THROUGHPUT, content(THROUGHPUT, read))
        seconds = sum(float(row["seconds"]) for row in rows)
        tokens = sum(float(row["response_tokens/s"]) * row["seconds"] for row in rows)
        memory = max((float(row["memory/peak"]) for row in rows), default=0.0)
    except (Unreadable, KeyError, TypeError, ValueError):
        return {}
    if seconds <= 0:
        return {}
    return {"seconds": seconds, "response_tokens/s": tokens / seconds, "memory/peak": memory}


def parquet(file: str, read: Read, lists: bool = False) -> pa.Table:
    """A table with a row per `id`. lists: columns may hold a list of numbers per row.

    Unreadable: damaged, an id is there twice, or a column holds neither text nor number.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not `read_table`: that loads the machinery of data sets of many files.
        table = pq.ParquetFile(io.BytesIO(content(file, read))).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise Unreadable(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if "id" not in table.column_names:
        raise Unreadable(f"{file} has no column id")
    if len(table["id"].unique()) != table.num_rows:
        raise Unreadable(f"{file} names an id more than once")
    for field in table.schema:
        allowed = lists and pa.types.is_list(field.type)
        if pa.types.is_nested(field.type) and not allowed:
            raise Unreadable(f"{file}: column {field.name} holds {field.type}")
    return table


def history_table(rows: Sequence[Row]) -> pa.Table:
    """step, then every metric as float64; what a step does not have is null."""
    import pyarrow as pa

    names = sorted({name for row in rows for name in row} - {"step"})
    columns: dict[str, Any] = {"step": pa.array([row["step"] for row in rows], pa.int64())}
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values, pa.float64())
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise Unreadable(f"the history of {name} cannot be read: {error}") from None
    return pa.table(columns)


def generations_table(read: Read) -> pa.Table:
    """id, prompt, before, after as text; a prompt of several turns is JSON. A model without a start
    model has nothing before."""
    import pyarrow as pa

    rows = []
    for number, line in enumerate(content(GENERATIONS, read).splitlines(), 1):
        try:
            row = json.loads(line)
            rows.append([_text(row.get(n, "") if n == "before" else row[n]) for n in TEXTS])
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"{GENERATIONS}:{number} cannot be read: {error!r}") from None
    columns = zip(*rows, strict=True) if rows else [()] * len(TEXTS)
    return pa.table({n: pa.array(c, pa.string()) for n, c in zip(TEXTS, columns, strict=True)})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
