"""Records as files: one entry per evaluation of a run, checked, or the reason it cannot be used."""

from __future__ import annotations

import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from tiebreak.track import record_format
from tiebreak.track.record_format import CONFIG, MANIFEST, METRICS, RESULT, STATUS, STATUSES
from tiebreak_analysis.records import files
from tiebreak_analysis.records.files import Missing, Row, Settings, Unreadable, json_file

LARGEST = sys.float_info.max

Stamp = tuple[int, int]
"""Size in bytes and time of the last change in ns: another stamp, another content."""
Skipped = tuple[Path, str]
"""A folder, or for W&B a name that ends in the run id, and why it is not counted."""


@dataclass(frozen=True)
class Entry(ABC):
    """One evaluation of one run, wherever its record lies; or a run that has no evaluation yet."""

    path: Path
    """What the record is called where it lies; the last part is the run id, if it has one."""
    evaluation: str | None = None
    """Id of the evaluation; None: the run has none yet."""
    several: bool = False
    """Whether the run has other evaluations too."""

    @property
    def key(self) -> str:
        """Tells the entry from all others of its source: the run id; where the run has several
        evaluations, the evaluation's id too."""
        return f"{self.path.name}:{self.evaluation}" if self.several else self.path.name

    def record(self) -> Record:
        """What its files tell; the last part of its path is the run id it must have.

        Unreadable: what is wrong with it.
        """
        if not re.fullmatch(r"[0-9a-f]{12}", self.path.name):
            raise Unreadable("the folder's name is not a run id (12 hex characters)")
        manifest, status = json_file(MANIFEST, self.read), json_file(STATUS, self.read)
        run_id = _take(manifest, "run_id", str, MANIFEST)
        if run_id != self.path.name:
            raise Unreadable(f"manifest.json is of run {run_id}: the folder was renamed or copied")
        result = _result(self, manifest)
        names = _take(manifest, "names", dict, MANIFEST)
        hashes = _take(manifest, "hashes", dict, MANIFEST)
        start = result.get("start", {})
        return Record(
            path=self.path,
            run_id=run_id,
            group_id=_take(manifest, "group_id", str, MANIFEST),
            **_standing(status, finished=self.evaluation is not None),
            **{n: _take(names, n, str, MANIFEST) for n in ("model", "method", "scenario", "data")},
            seed=_take(manifest, "seed", int, MANIFEST),
            data_hash=_take(hashes, "data", str, MANIFEST, True),
            evaluation=self.evaluation,
            evaluators=result.get("evaluators", {}),
            overlap=result.get("overlap", {}),
            start_model=start.get("model") or _take(hashes, "start_model", str, MANIFEST, True),
            metrics=result.get("metrics", {}),
            start=start.get("metrics", {}),
            settings=_measured_with(result, files.parsed(CONFIG, self.read, files.config_settings)),
            manifest=manifest,
            several=self.several,
            entry=self,
        )

    @abstractmethod
    def read(self, file: str) -> bytes:
        """A file by its name (`tiebreak.track.record_format`), of this evaluation where it is of
        one. OSError; FileNotFoundError: there is none."""

    @abstractmethod
    def history(self) -> list[Row]:
        """The rows of `metrics.jsonl`, steps ascending. Unreadable: damaged."""

    def stamp(self, file: str) -> Stamp | None:
        """None: the file is not there, or nothing of this entry is cached."""
        return None


class RunSource(Protocol):
    """Where runs are read from. root: what messages call it; cache: a folder for what was read
    before, or None: then every file is read every time."""

    @property
    def root(self) -> Path | str: ...
    @property
    def cache(self) -> Path | None: ...
    def entries(self) -> tuple[Sequence[Entry], Sequence[Skipped]]:
        """The entries by path and evaluation; and what lies there and is no record, with why.

        UserError: there is nothing to read, or no way to.
        """
        ...


@dataclass(frozen=True)
class Record:
    """One entry as its files tell it. Metrics are empty unless it is finished."""

    path: Path
    """Its folder; for a run of W&B, a name that ends in the run id."""
    run_id: str
    group_id: str
    status: str
    """`finished` where the evaluation has its result; else what the run said last."""
    model: str
    method: str
    scenario: str
    data: str
    seed: int
    settings: Settings
    """The resolved config without seed and tracker, keys dotted: `method.beta`."""
    stage: str | None = None
    step: int | None = None
    steps: int | None = None
    error: str | None = None
    data_hash: str | None = None
    evaluation: str | None = None
    """Id of how it was measured; None: it was not yet."""
    start_model: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    start: Mapping[str, float] = field(default_factory=dict)
    """The same metrics of the start model, as this run measured them."""
    evaluators: Mapping[str, str] = field(default_factory=dict)
    """Name of each evaluator -> the key of what it measured with."""
    overlap: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Evaluator -> what its questions share with the training data, where that was looked at."""
    manifest: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """`manifest.json` as it is: commit, versions, hashes, host, times. Empty: not known."""
    several: bool = False
    """Whether its run has other evaluations too."""
    entry: Entry | None = field(default=None, repr=False, compare=False)
    """Where it was read from."""

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def trained(self) -> bool:
        """Whether a policy was trained; else a checkpoint was measured as it is given, which has no
        start model and no seed."""
        return self.scenario != record_format.CHECKPOINT

    @property
    def key(self) -> str:
        """`Entry.key`: what its rows in the frames of `Runs` are called."""
        return f"{self.run_id}:{self.evaluation}" if self.several else self.run_id

    @property
    def start_key(self) -> tuple[str | None, str | None]:
        """What tells start models on the same data apart: weights, and the token ids that their
        tokenizer and chat template make of it."""
        return self.start_model, self.manifest.get("hashes", {}).get("tokens")

    @cached_property
    def throughput(self) -> Mapping[str, float]:
        """How fast it trained: `seconds` (wall clock, all steps), `response_tokens/s` (over all of
        them), `memory/peak` (MiB). A clock decides it, so it is no part of what makes two records
        equal. Empty where there is no file, or a damaged one."""
        return {} if self.entry is None else files.throughput(self.entry.read)


PLAIN = (
    "run_id group_id status stage step steps error model method scenario data seed "
    "data_hash evaluation start_model"
).split()
"""Fields of `Record` that are one text or number each."""


def _standing(status: dict[str, Any], finished: bool) -> dict[str, Any]:
    """Status, stage, steps and error: of the run, unless this evaluation of it is finished."""
    state = _take(status, "status", str, STATUS)
    if state not in STATUSES:
        raise Unreadable(f"status.json: status {state!r} is none of {', '.join(STATUSES)}")
    if finished:
        return {"status": "finished"}
    if state == "finished":
        raise Missing(f"{RESULT} is missing: {STATUS} says finished, and no evaluation has one")
    kinds = {"stage": str, "step": int, "steps": int, "error": str}
    known = {name: _take(status, name, kind, STATUS, True) for name, kind in kinds.items()}
    return {"status": state, **known}


def _result(entry: Entry, manifest: dict[str, Any]) -> dict[str, Any]:
    """`result.json`, checked: of this run and evaluation, and every metric a finite number."""
    if entry.evaluation is None:
        return {}
    result = json_file(RESULT, entry.read)
    for key in ("run_id", "group_id", "seed"):
        here, there = result.get(key), manifest.get(key)
        if here != there:
            raise Unreadable(f"result.json: {key} is {here!r}, manifest.json has {there!r}")
    evaluation = _take(result, "evaluation", str, RESULT)
    if evaluation != entry.evaluation:
        raise Unreadable(f"{RESULT} is of evaluation {evaluation}: its folder was renamed")
    for name, key in _take(result, "evaluators", dict, RESULT).items():
        if not isinstance(key, str):
            raise Unreadable(f"{RESULT}: the key of evaluator {name!r} is {key!r}, not text")
    for name, counts in (_take(result, "overlap", dict, RESULT, True) or {}).items():
        if not isinstance(counts, dict) or not all(type(n) is int for n in counts.values()):
            raise Unreadable(f"{RESULT}: overlap of {name!r} is {counts!r}, not counts")
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


def _take(source: dict[str, Any], key: str, kind: type, file: str, optional: bool = False) -> Any:
    """`source[key]` of exactly this type; or None where it is optional."""
    value = source.get(key)
    if value is None and optional:
        return None
    if type(value) is not kind:  # not isinstance: True is no step count
        raise Unreadable(f"{file}: {key} is {value!r}, not {kind.__name__}")
    return value


def _measured_with(result: Mapping[str, Any], config: Settings) -> Settings:
    """The settings, those of the evaluation as they were for this result: `config.yaml` has those
    of the last command, which may have measured in another way."""
    group = result.get("settings")
    if group is None:
        return config
    own = files.settings({"evaluation": files.mapping(group)})
    return config if own.items() <= config.items() else config | own


class RunFolder(Entry):
    """An entry whose files lie in a folder `<run id>/`."""

    def read(self, file: str) -> bytes:
        return (self.path / record_format.path_in_record(file, self.evaluation)).read_bytes()

    def history(self) -> list[Row]:
        return files.log_rows(METRICS, files.content(METRICS, self.read))

    def stamp(self, file: str) -> Stamp | None:
        try:
            found = os.stat(f"{self.path}/{record_format.path_in_record(file, self.evaluation)}")
        except OSError:  # what it is, reading it will say
            return None
        return found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class Folder:
    """Own records: every folder below `root` is taken for one. No such folder holds no runs."""

    root: Path
    cache: Path | None = None

    def entries(self) -> tuple[list[RunFolder], list[Skipped]]:
        if not self.root.is_dir():
            return [], []
        with os.scandir(self.root) as found:
            names = [one.name for one in found if not one.name.startswith(".") and one.is_dir()]
        return [
            RunFolder(self.root / name, evaluation, len(ids) > 1)
            for name in sorted(names)
            for ids in [record_format.finished_evaluations(self.root / name)]
            for evaluation in ids or [None]
        ], []
