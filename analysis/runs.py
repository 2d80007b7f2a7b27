"""Read the records under `runs/`: one `Record` per readable run; the rest named with a reason.

A record that is corrupt, partial or of another format is never averaged and never vanishes: it
stands in `Runs.skipped` and in `listing`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
STATUSES = ("running", "finished", "failed", "stopped", "pruned")
UNTOLD = ("seed", "tracker")  # parts of a config that are no hyper-parameter

Setting = str | int | float | bool | None
Settings = dict[str, Setting]


class Unreadable(ValueError):
    """Why one record cannot be used. Caught here; the reason goes into `Runs.skipped`."""


@dataclass(frozen=True)
class Record:
    """One run as its record tells it. Metrics are empty unless the run is finished."""

    path: Path
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

    @property
    def finished(self) -> bool:
        return self.status == "finished"


PLAIN = (
    "run_id group_id status stage step steps error model method scenario data seed "
    "data_hash evaluator start_model"
).split()


@dataclass(frozen=True)
class Runs:
    """All records under one folder, in a stable order, and what could not be read."""

    root: Path
    records: tuple[Record, ...]
    skipped: tuple[tuple[Path, str], ...]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Tidy: one row per record, any status.

        Columns: the plain facts (`run_id` ... `start_model`), hyper-parameters that differ
        (`method.beta`), metrics (`gold/reward`), the start model's (`start/gold/reward`).
        What a run does not have is missing (NaN or None).
        """
        import pandas as pd

        settings = [
            key
            for key in varying(record.settings for record in self.records)
            if key.removesuffix(".name") not in PLAIN
        ]
        metrics = sorted({name for record in self.records for name in record.metrics})
        start = sorted({name for record in self.records for name in record.start})
        rows = [
            {
                **{name: getattr(record, name) for name in PLAIN},
                **{name: record.settings.get(name) for name in settings},
                **{name: record.metrics.get(name, math.nan) for name in metrics},
                **{f"start/{name}": record.start.get(name, math.nan) for name in start},
            }
            for record in self.records
        ]
        columns = [*PLAIN, *settings, *metrics, *(f"start/{name}" for name in start)]
        return pd.DataFrame(rows, columns=pd.Index(columns))


def load(runs_dir: Path) -> Runs:
    """Read every record under `runs_dir`. A folder that is not there holds no runs."""
    records, skipped = [], []
    folders = sorted(runs_dir.iterdir()) if runs_dir.is_dir() else []
    for folder in folders:
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        try:
            records.append(_record(folder))
        except Unreadable as reason:
            skipped.append((folder, str(reason)))
    records.sort(key=_order)
    return Runs(runs_dir, tuple(records), tuple(skipped))


def listing(runs_dir: Path) -> list[dict[str, Any]]:
    """What `tiebreak runs` shows: one dict per folder under `runs_dir`, JSON without NaN.

    Records that cannot be read come last, with status `unreadable` and the reason as `error`.
    """
    runs = load(runs_dir)
    rows = [
        {
            **{name: getattr(record, name) for name in PLAIN},
            "metrics": dict(record.metrics),
            "start": dict(record.start),
        }
        for record in runs.records
    ]
    unread = dict.fromkeys(PLAIN) | {"status": "unreadable", "metrics": {}, "start": {}}
    rows += [unread | {"run_id": path.name, "error": why} for path, why in runs.skipped]
    return rows


def varying(many: Iterable[Settings]) -> list[str]:
    """The keys whose value is not the same in all of `many` (a missing key is a difference)."""
    several = list(many)
    names = sorted({name for settings in several for name in settings})
    return [
        name
        for name in names
        if len({setting_text(s[name]) if name in s else None for s in several}) > 1
    ]


def setting_text(value: Setting) -> str:
    """A value as one writes it in YAML: `0.05`, `5e-07`, `true`, `null`. 1 and 1.0 are the same."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _order(record: Record) -> tuple[str | int, ...]:
    names = (record.model, record.data, record.scenario, record.method, record.group_id)
    return (*names, record.seed, record.run_id)


def _record(folder: Path) -> Record:
    if not re.fullmatch(r"[0-9a-f]{12}", folder.name):
        raise Unreadable("the folder's name is not a run id (12 hex characters)")
    manifest, status = _json(folder / "manifest.json"), _json(folder / "status.json")
    run_id = _take(manifest, "run_id", str, "manifest.json")
    if run_id != folder.name:
        raise Unreadable(f"manifest.json is of run {run_id}: the folder was renamed or copied")
    state = _take(status, "status", str, "status.json")
    if state not in STATUSES:
        raise Unreadable(f"status.json: status {state!r} is none of {', '.join(STATUSES)}")
    names = _take(manifest, "names", dict, "manifest.json")
    hashes = _take(manifest, "hashes", dict, "manifest.json")
    result = _result(folder, manifest) if state == "finished" else {}
    start = result.get("start", {})
    return Record(
        path=folder,
        run_id=run_id,
        group_id=_take(manifest, "group_id", str, "manifest.json"),
        status=state,
        stage=_take(status, "stage", str, "status.json", None),
        step=_take(status, "step", int, "status.json", None),
        steps=_take(status, "steps", int, "status.json", None),
        error=_take(status, "error", str, "status.json", None),
        model=_take(names, "model", str, "manifest.json"),
        method=_take(names, "method", str, "manifest.json"),
        scenario=_take(names, "scenario", str, "manifest.json"),
        data=_take(names, "data", str, "manifest.json"),
        seed=_take(manifest, "seed", int, "manifest.json"),
        data_hash=_take(hashes, "data", str, "manifest.json", None),
        evaluator=_take(hashes, "evaluator", str, "manifest.json", None),
        start_model=start.get("model") or _take(hashes, "start_model", str, "manifest.json", None),
        metrics=result.get("metrics", {}),
        start=start.get("metrics", {}),
        settings=_settings(folder / "config.yaml"),
    )


def _result(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """`result.json`, checked: of this run, and every metric a finite number."""
    result = _json(folder / "result.json")
    for key in ("run_id", "group_id", "seed"):
        here, there = result.get(key), manifest.get(key)
        if here != there:
            raise Unreadable(f"result.json: {key} is {here!r}, manifest.json has {there!r}")
    start = _take(result, "start", dict, "result.json")
    _take(start, "model", str, "result.json")
    for where in (result, start):
        for name, value in _take(where, "metrics", dict, "result.json").items():
            if not re.fullmatch(r"[^/]+(/[^/]+)+", name):
                raise Unreadable(f"result.json: metric {name!r} is not named group/name")
            if type(value) not in (int, float) or not math.isfinite(value):
                raise Unreadable(f"result.json: metric {name!r} is {value!r}, not a finite number")
    return result


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


def _json(path: Path) -> dict[str, Any]:
    found = _parsed(path, lambda text: json.loads(text, parse_constant=_refuse))
    if found.get("format") != FORMAT:
        raise Unreadable(
            f"{path.name} has format {found.get('format')!r}, this version reads {FORMAT}"
        )
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number that JSON has")


def _settings(path: Path) -> Settings:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times faster
    config = _parsed(path, lambda text: yaml.load(text, loader))
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


def _parsed(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Unreadable(f"{path.name} is missing") from None
    except OSError as error:  # its full text would name a path of this machine
        raise Unreadable(f"{path.name} cannot be read: {error.strerror}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise Unreadable(f"{path.name} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise Unreadable(f"{path.name} holds {type(found).__name__}, not an object")
    return found
