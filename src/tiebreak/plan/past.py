"""How long stages took: from the records of finished runs and the artefacts they built.

Training: the mean of `seconds` in throughput.jsonl, times its steps. Any stage: from the moment a
build took its lock to the last file of its artefact, where both lie within the run (a lock that
somebody waited for, and a store that was copied, say nothing). A stage that was killed and resumed
counts from its resumption, except align.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tiebreak.compose import to_run
from tiebreak.config.schema import Run
from tiebreak.errors import UserError
from tiebreak.plan.facts import Book, Facts, Unknown
from tiebreak.plan.machine import Machine, Pace, Place, Speeds
from tiebreak.plan.work import load
from tiebreak.stages.align import Line
from tiebreak.stages.evaluate import evaluation_stages
from tiebreak.stages.stage import Stage
from tiebreak.store import ARTEFACT, Store, read_artefact
from tiebreak.track.record import read_manifest
from tiebreak.track.record_format import THROUGHPUT

NEWEST = 1000  # records looked at
EACH, MOST = 3, 60  # records read of one kind, and in all
TAIL = 2**16  # bytes of a log that are read


def read_speeds(runs: Path, store: Store, machine: Machine) -> Speeds:
    """From the newest records of this kind of machine, a few of each kind."""
    paces, unread, book = [], 0, Book()
    for manifest in _chosen(runs, machine):
        try:
            paces += _paces(runs / manifest["run_id"], manifest, store, machine, book)
        except UserError:  # of another version, or its model or data have gone
            unread += 1
    return Speeds(paces, unread)


def _chosen(runs: Path, machine: Machine) -> Iterator[dict[str, Any]]:
    counts: Counter[tuple[str, ...]] = Counter()
    taken = 0
    for manifest in _finished(runs):
        if not machine.is_like(manifest["host"]) or _moved(manifest) or taken == MOST:
            continue
        if machine.devices is None:  # nobody asked: take what the newest record had
            machine = Machine(
                machine.host, machine.memory, machine.free, tuple(manifest["host"]["devices"])
            )
        kinds = set(_kinds(manifest))
        if any(counts[kind] < EACH for kind in kinds):
            taken += 1
            counts.update(kinds)
            yield manifest


def _kinds(manifest: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """What a record can tell of: training by its method, and each other stage it built."""
    names = manifest["names"]
    yield "align", names["model"], names["data"], names["method"]
    for entry in manifest["stages"]:
        if not entry["reused"]:
            yield entry["stage"], names["model"], names["data"]


def _finished(runs: Path) -> Iterator[dict[str, Any]]:
    """Manifests of finished runs, newest first."""
    folders = [p for p in runs.iterdir() if p.is_dir()] if runs.is_dir() else []
    folders.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    for folder in folders[:NEWEST]:
        try:
            manifest = read_manifest(folder)
        except (UserError, FileNotFoundError):  # `tiebreak runs` names it
            continue
        if manifest["times"]["finished"]:
            yield manifest


def _moved(manifest: Mapping[str, Any]) -> bool:
    """Whether the run went on on another kind of machine."""
    return any(before["host"] != manifest["host"] for before in manifest.get("earlier", ()))


def _paces(
    folder: Path, manifest: Mapping[str, Any], store: Store, machine: Machine, book: Book
) -> Iterator[Pace]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times faster
    run = to_run(yaml.load((folder / "config.yaml").read_text(), loader))
    built = list(_built(manifest, store))
    tokens = {what: store.path(name, key) for name, what, key, _ in built if name == "tokens"}
    folders = tokens.get("preferences"), tokens.get("demonstrations")
    facts = book.facts(run, lambda: folders)
    times = {(name, what): build_seconds(store, name, key, manifest["times"])
             for name, what, key, reused in built if not reused}  # fmt: skip
    trained = training_seconds(folder, facts)
    times["align", ""] = max(trained, times.get(("align", "")) or 0.0) if trained else None
    for (name, what), seconds in times.items():
        asked = load(name, what, facts)
        if seconds and asked.work:
            known = facts.shape is not None and asked.kind != "rows"
            flops = asked.work * facts.model().parameters if known else None
            place, threads = Place.of(name, what, facts), machine.threads(run, name)
            yield Pace(place, asked.kind, asked.work, flops, threads, seconds)


def _built(manifest: Mapping[str, Any], store: Store) -> Iterator[tuple[str, str, str, bool]]:
    """(stage, what, key, reused) of a record's artefacts that are still there.

    They tell what they are themselves: keys of a record's run would ask for its model again.
    """
    for entry in manifest["stages"]:
        name, key = entry["stage"], entry["key"]
        path = store.path(name, key)
        if path.is_dir():
            yield name, what_of(name, read_artefact(path)["inputs"]), key, entry["reused"]


def what_of(name: str, inputs: Mapping[str, Any]) -> str:
    """`Stage.what` of an artefact."""
    if name == "tokens":
        return "demonstrations" if inputs["rows"] == "demonstrations" else "preferences"
    if name == "reference":
        return "mismatched responses" if inputs["rows"] == "mismatched" else "responses"
    if name in ("generate", "evaluate"):
        return "policy" if inputs["policy"] else "start model"
    return ""


def graph(run: Run, line: Line) -> list[Stage]:
    """All stages of a run, parents first, in the order a run does them; each once."""
    found: dict[int, Stage] = {}

    def visit(stage: Stage) -> None:
        if id(stage) not in found:
            for parent in stage.parents.values():
                visit(parent)
            found[id(stage)] = stage

    for stage in (line.tokens, line.align, *evaluation_stages(run, line)):
        visit(stage)
    return list(found.values())


def build_seconds(
    store: Store, name: str, key: str | None, times: Mapping[str, str]
) -> float | None:
    """How long the run with these times took to build an artefact; None when nobody can tell."""
    try:
        began = (store.root / name / f".{key}.lock").stat().st_mtime
        ended = (store.root / name / str(key) / ARTEFACT).stat().st_mtime
    except FileNotFoundError:
        return None
    first, last = (datetime.fromisoformat(times[k]).timestamp() for k in ("started", "finished"))
    inside = first - 1 <= began < ended <= last + 1  # the record's times are whole seconds
    return ended - began if inside else None


def training_seconds(folder: Path, facts: Facts) -> float | None:
    """Of all optimiser steps of align; None when this run did not train."""
    rows = throughput(folder)
    if not rows:
        return None
    try:
        steps = facts.steps()[0]
    except Unknown:
        return None
    return steps * sum(row["seconds"] for row in rows) / len(rows)


def throughput(folder: Path) -> list[dict[str, float]]:
    """The last rows of throughput.jsonl, the whole of a short one."""
    try:
        with (folder / THROUGHPUT).open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - TAIL))
            lines = stream.read().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines[1 if size > TAIL else 0 :]]
