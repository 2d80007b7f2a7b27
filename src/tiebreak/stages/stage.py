"""A stage: what determines it, what it needs, and how it is built into the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiebreak import store as artefacts
from tiebreak.config.identity import RESULT_VERSION
from tiebreak.store import Artefact, Store

Paths = Mapping[str, Path]


@dataclass(frozen=True)
class Stage:
    """One step that makes an artefact.

    inputs(paths) is the plain JSON that determines the artefact; it is called with the parents'
    folders when `by_content` is set, else with nothing. build(work, paths) fills `work`. `what`
    tells two stages of one run and one name apart, for people.
    """

    name: str
    inputs: Callable[[Paths], dict[str, Any]]
    build: Callable[[Path, Paths], None]
    parents: Mapping[str, Stage] = field(default_factory=dict)
    by_content: bool = False
    scratch: tuple[str, ...] = ()
    what: str = ""

    def key(self, store: Store) -> str | None:
        """The artefact's key; None while it depends on the content of a parent not built yet."""
        paths: dict[str, Path] = {}
        if self.by_content:
            for role, parent in self.parents.items():
                key = parent.key(store)
                if key is None or not store.has(parent.name, key):
                    return None
                paths[role] = store.path(parent.name, key)
        return artefacts.key(self.name, _versioned(self, paths))


def recipe(name: str, inputs: dict[str, Any], **rest: Any) -> Stage:
    """A stage determined by settings alone (parents' settings included)."""
    return Stage(name, lambda paths: inputs, **rest)


def ensure(
    stage: Stage, store: Store, note: Callable[[Artefact], None] = lambda done: None
) -> Artefact:
    """The stage's artefact, building it and what it needs. `note` hears of each one used."""
    key = stage.key(store)
    if key is not None and store.has(stage.name, key):
        done = Artefact(store.path(stage.name, key), stage.name, key, reused=True)
        note(done)
        return done
    paths = {role: ensure(parent, store, note).path for role, parent in stage.parents.items()}
    inputs = _versioned(stage, paths if stage.by_content else {})
    key = artefacts.key(stage.name, inputs)
    done = store.build(
        stage.name, key, inputs, lambda work: stage.build(work, paths), scratch=stage.scratch
    )
    note(done)
    return done


def _versioned(stage: Stage, paths: Paths) -> dict[str, Any]:
    """A new meaning of the same settings must not be served what the old one made."""
    return {**stage.inputs(paths), "result_version": RESULT_VERSION}


def everything(stage: Stage, store: Store) -> Iterator[tuple[str, str]]:
    """(stage, key) of a built stage and of all that led to it, parents first."""
    for parent in stage.parents.values():
        yield from everything(parent, store)
    key = stage.key(store)
    if key is not None:
        yield stage.name, key


def walk(stages: list[Stage], store: Store) -> Iterator[tuple[Stage, str | None, bool]]:
    """(stage, key, cached) for a plan: parents first, each once; nothing below a cached stage."""
    seen: set[tuple[str, str | None, int]] = set()

    def visit(stage: Stage) -> Iterator[tuple[Stage, str | None, bool]]:
        key = stage.key(store)
        mark = (stage.name, key, 0 if key else id(stage))
        if mark in seen:
            return
        seen.add(mark)
        cached = key is not None and store.has(stage.name, key)
        if not cached:
            for parent in stage.parents.values():
                yield from visit(parent)
        yield stage, key, cached

    for stage in stages:
        yield from visit(stage)
