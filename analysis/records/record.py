"""One run as its record tells it: the files checked, or the reason why it cannot be used."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tiebreak.track.record_format import CONFIG, FORMAT, MANIFEST, RESULT, STATUS, STATUSES

FILES = (CONFIG, MANIFEST, STATUS, RESULT)
LARGEST = sys.float_info.max
UNTOLD = ("seed", "tracker")  # parts of a config that are no hyper-parameter

Setting = str | int | float | bool | None
Settings = dict[str, Setting]
Read = Callable[[str], bytes]
"""The content of one file of a record. Raises OSError; FileNotFoundError where it is missing."""


class Unreadable(ValueError):
    """Why one record, or one file of it, cannot be used. Caught where runs are counted."""


class Missing(Unreadable):
    """A file that is not there."""


@dataclass(frozen=True)
class Record:
    """One run as its record tells it. Metrics are empty unless the run is finished."""

    path: Path
    """Its folder; for a run of W&B, a name that ends in the run id."""
    run_id: str
    group_id: str
    status: str
    stage: str | None
    step: int | None
    steps: int | None
    error: str | None
    model: str
    method: str
    scenario: str
    data: str
    seed: int
    data_hash: str | None
    evaluator: str | None
    start_model: str | None
    metrics: Mapping[str, float]
    start: Mapping[str, float]
    """The same metrics of the start model, as this run measured them."""
    settings: Settings
    """The resolved config without seed and tracker, keys dotted: `method.beta`."""
    manifest: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """`manifest.json` as it is: commit, versions, hashes, host, times. Empty: not told."""

    @property
    def finished(self) -> bool:
        return self.status == "finished"


PLAIN = (
    "run_id group_id status stage step steps error model method scenario data seed "
    "data_hash evaluator start_model"
).split()


def parse(path: Path, read: Read) -> Record:
    """The record whose files `read` gives; the last part of `path` is the run id it must have."""
    if not re.fullmatch(r"[0-9a-f]{12}", path.name):
        raise Unreadable("the folder's name is not a run id (12 hex characters)")
    manifest, status = _json(MANIFEST, read), _json(STATUS, read)
    run_id = _take(manifest, "run_id", str, MANIFEST)
    if run_id != path.name:
        raise Unreadable(f"manifest.json is of run {run_id}: the folder was renamed or copied")
    state = _take(status, "status", str, STATUS)
    if state not in STATUSES:
        raise Unreadable(f"status.json: status {state!r} is none of {', '.join(STATUSES)}")
    names = _take(manifest, "names", dict, MANIFEST)
    hashes = _take(manifest, "hashes", dict, MANIFEST)
    result = _result(read, manifest) if state == "finished" else {}
    start = result.get("start", {})
    return Record(
        path=path,
        run_id=run_id,
        group_id=_take(manifest, "group_id", str, MANIFEST),
        status=state,
        stage=_take(status, "stage", str, STATUS, None),
        step=_take(status, "step", int, STATUS, None),
        steps=_take(status, "steps", int, STATUS, None),
        error=_take(status, "error", str, STATUS, None),
        model=_take(names, "model", str, MANIFEST),
        method=_take(names, "method", str, MANIFEST),
        scenario=_take(names, "scenario", str, MANIFEST),
        data=_take(names, "data", str, MANIFEST),
        seed=_take(manifest, "seed", int, MANIFEST),
        data_hash=_take(hashes, "data", str, MANIFEST, None),
        evaluator=_take(hashes, "evaluator", str, MANIFEST, None),
        start_model=start.get("model") or _take(hashes, "start_model", str, MANIFEST, None),
        metrics=result.get("metrics", {}),
        start=start.get("metrics", {}),
        settings=_parsed(CONFIG, read, _settings),
        manifest=manifest,
    )


def _result(read: Read, manifest: dict[str, Any]) -> dict[str, Any]:
    """`result.json`, checked: of this run, and every metric a finite number."""
    result = _json(RESULT, read)
    for key in ("run_id", "group_id", "seed"):
        here, there = result.get(key), manifest.get(key)
        if here != there:
            raise Unreadable(f"result.json: {key} is {here!r}, manifest.json has {there!r}")
    start = _take(result, "start", dict, RESULT)
    _take(start, "model", str, RESULT)
    for where in (result, start):
        metrics = _take(where, "metrics", dict, RESULT)
        where["metrics"] = {name: _metric(name, value) for name, value in metrics.items()}
    return result


def _metric(name: str, value: Any) -> float:
    if not re.fullmatch(r"[^/]+(/[^/]+)+", name):
        raise Unreadable(f"result.json: metric {name!r} is not named group/name")
    if type(value) not in (int, float) or not abs(value) <= LARGEST:  # nan compares with nothing
        raise Unreadable(f"result.json: metric {name!r} is {value!r}, not a finite number")
    return float(value)


_REQUIRED = object()


def _take(
    source: dict[str, Any], key: str, kind: type, file: str, missing: object = _REQUIRED
) -> Any:
    """`source[key]` of exactly this type; `missing` where it may be absent or null."""
    value = source.get(key)
    if value is None and missing is not _REQUIRED:
        return missing
    if type(value) is not kind:  # not isinstance: True is no step count
        raise Unreadable(f"{file}: {key} is {value!r}, not {kind.__name__}")
    return value


def _json(name: str, read: Read) -> dict[str, Any]:
    found = _parsed(name, read, _object)
    if found.get("format") != FORMAT:
        raise Unreadable(f"{name} has format {found.get('format')!r}, this version reads {FORMAT}")
    return found


def _object(text: str) -> dict[str, Any]:
    return _mapping(json.loads(text, parse_constant=_refuse))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number that JSON has")


def _mapping(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise Unreadable(f"holds {type(found).__name__}, not an object")
    return found


_SEED_LINE = re.compile(r"^seed: -?\d+\n", re.MULTILINE)


def _settings(text: str) -> Settings:
    """Runs of one group differ in the line of the seed, which is no setting: parsed once."""
    return _settings_of(_SEED_LINE.sub("", text, count=1))


@lru_cache(maxsize=4096)
def _settings_of(text: str) -> Settings:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times faster
    return settings(_mapping(yaml.load(text, loader)))


def settings(config: Mapping[str, Any]) -> Settings:
    """A resolved config as dotted keys, without what is no setting."""
    return _flat({key: value for key, value in config.items() if key not in UNTOLD})


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Settings:
    flat: Settings = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is None or isinstance(value, (bool, int, float, str)):
            flat[f"{prefix}{key}"] = value
        else:
            flat[f"{prefix}{key}"] = json.dumps(value, default=str)
    return flat


def _parsed(name: str, read: Read, parse: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
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
