"""The graph of stages: keyed by settings and parents' keys, built once, parents first."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.config.quick import quick
from tiebreak.errors import UserError
from tiebreak.stages.stage import RUN_SEED, Context, Paths, Stage, make, order
from tiebreak.store import Artefact, Store

Make = Callable[..., Stage]
CONTEXT = Context(quick())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artefacts")


@pytest.fixture
def built() -> list[str]:
    return []


@pytest.fixture
def stage(built: list[str]) -> Make:
    def stage(name: str, settings: dict, **rest: Any) -> Stage:
        def build(context: Context, work: Path, paths: Paths) -> None:
            built.append(name)
            read = "".join((p / "text").read_text() for p in paths.values())
            (work / "text").write_text(f"{name}({read})")

        return Stage(name, settings, build, **rest)

    return stage


def diamond(stage: Make, **base: Any) -> Stage:
    bottom = stage("base", {"n": 1}, **base)
    left = stage("left", {"n": 1}, parents={"b": bottom})
    right = stage("right", {}, parents={"b": bottom})
    return stage("top", {}, parents={"l": left, "r": right})


def test_parents_are_built_first_and_once(stage: Make, store: Store, built: list[str]) -> None:
    top = diamond(stage)
    heard: list[Artefact] = []
    begun: list[str] = []
    path = make(top, store, CONTEXT, lambda one: begun.append(one.name), heard.append)
    assert built == begun == ["base", "left", "right", "top"]
    assert (path / "text").read_text() == "top(left(base())right(base()))"
    assert [(a.stage, a.reused) for a in heard] == [(name, False) for name in built]
    assert make(top, store, CONTEXT, note=heard.append) == path
    assert len(built) == 4 and (heard[-1].stage, heard[-1].reused) == ("top", True)


def test_every_key_is_known_before_anything_is_built(stage: Make, built: list[str]) -> None:
    keys = [(one.name, one.key) for one in order([diamond(stage)], lambda one: False)]
    assert [name for name, _ in keys] == ["base", "left", "right", "top"] and built == []
    assert all(len(key) == 16 for _, key in keys)


def test_a_stored_stage_needs_no_parents(stage: Make, store: Store, built: list[str]) -> None:
    base = stage("base", {})
    top = stage("top", {}, parents={"b": base})
    make(top, store, CONTEXT)
    path = store.path("base", base.key)
    for file in path.iterdir():
        os.chmod(file, 0o644)
        file.unlink()
    path.rmdir()
    make(top, store, CONTEXT)
    assert built == ["base", "top"]
    stored = [one.name for one in order([top], lambda one: store.has(one.name, one.key))]
    assert stored == ["top"]


def test_a_new_version_re_does_the_stage_and_what_hangs_on_it(stage: Make) -> None:
    old, new = diamond(stage), diamond(stage, version=2)
    keys = [{one.name: one.key for one in order([top], lambda one: False)} for top in (old, new)]
    assert {name for name in keys[0] if keys[0][name] != keys[1][name]} == {
        "base", "left", "right", "top",
    }  # fmt: skip
    left = dataclasses.replace(old.parents["l"], version=2)
    top = dataclasses.replace(old, parents={**old.parents, "l": left})
    changed = {one.name: one.key for one in order([top], lambda one: False)}
    assert {name for name in changed if changed[name] != keys[0][name]} == {"left", "top"}


def test_the_first_version_is_not_hashed(stage: Make) -> None:
    """So that keys from before a stage had a version stay."""
    assert "version" not in stage("base", {}).inputs
    assert stage("base", {}).key == stage("base", {}, version=1).key


def test_the_seed_of_the_run_tells_keys_apart_and_not_groups(stage: Make) -> None:
    tops = [
        stage("top", {}, parents={"b": stage("base", {RUN_SEED: seed, "seed": 3})})
        for seed in (1, 2)
    ]
    assert tops[0].key != tops[1].key and tops[0].seedless_key == tops[1].seedless_key
    other = stage("top", {}, parents={"b": stage("base", {RUN_SEED: 1, "seed": 4})})
    assert other.seedless_key != tops[0].seedless_key, "a seed of a recipe is another recipe"


def test_a_failed_build_leaves_its_work_and_publishes_nothing(store: Store) -> None:
    tries: list[bool] = []

    def build(context: Context, work: Path, paths: Paths) -> None:
        tries.append((work / "half").exists())
        (work / "half").write_text("")
        if len(tries) == 1:
            raise UserError("no")

    one = Stage("s", {}, build)
    with pytest.raises(UserError, match="no"):
        make(one, store, CONTEXT)
    assert not store.has("s", one.key)
    make(one, store, CONTEXT)
    assert tries == [False, True]
