"""Sweep files: the runs of one file in `sweeps/`, and how its methods are tuned."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tiebreak.compose import Run, compose, compose_given, reads_given
from tiebreak.config.compose import GROUPS, parse, paths
from tiebreak.config.typed import Space, dimension, search_space, typed
from tiebreak.errors import UserError, nearest
from tiebreak.home import shipped
from tiebreak.plan.estimate import uncollected

Values = dict[str, Any]
PARTS = ("axes", "fixed", "settings", "search", "checkpoints")


class Sampler(StrEnum):
    RANDOM = "random"
    GRID = "grid"
    TPE = "tpe"


class Pruner(StrEnum):
    NONE = "none"
    ASHA = "asha"
    HYPERBAND = "hyperband"


@dataclass(frozen=True)
class Search:
    """How each method is tuned. trials: settings tried per method and cell; metric: of the
    validation split; maximise: whether more is better; seed: of the trials' runs and of the
    sampler; rungs: at how many points of a training a pruner may end it."""

    trials: int
    metric: str = "gold/reward"
    maximise: bool = True
    sampler: Sampler = Sampler.RANDOM
    pruner: Pruner = Pruner.NONE
    seed: int = 1
    rungs: int = 1  # a look at a ninth of the training (2) misjudges: benchmarks/pruning.py


@dataclass(frozen=True)
class SweepFile:
    """The axes of a sweep file; every combination is a run, or with `search` a thing to tune.
    shared_space: what is tuned beside each method's own hyper-parameters, by key. checkpoints: name
    -> place of models that are measured beside the runs and not trained."""

    name: str
    axes: dict[str, tuple[Any, ...]]
    fixed: Values
    settings: dict[str, Values]
    search: Search | None
    shared_space: Space
    extra: tuple[str, ...]
    checkpoints: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def given(self) -> Values:
        """Key -> value as text of what the command line says."""
        return {key: value for key, _, value in (one.partition("=") for one in self.extra)}

    def cells(self) -> Iterator[Values]:
        """One value of each axis but the seed."""
        axes = {axis: values for axis, values in self.axes.items() if axis != "seed"}
        return (dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values()))

    def seeds(self) -> tuple[int, ...]:
        return self.axes.get("seed", (1,))

    def overrides(self, cell: Values, more: Mapping[str, Any]) -> list[str]:
        """What a cell with `more` keys set says; what the command line says comes last."""
        values = {k: v for k, v in {**self.values(cell), **more}.items() if k not in self.given}
        return [*(override(k, v) for k, v in values.items()), *self.extra]

    def run(self, cell: Values, more: Mapping[str, Any]) -> Run:
        """The run of a cell with `more` keys set."""
        try:
            run = compose(self.overrides(cell, more))
            num, pruner = run.train.execution.num_processes, self.search and self.search.pruner
            if num > 1 and pruner not in (None, Pruner.NONE):
                raise UserError(
                    f"train.execution.num_processes={num}, and search.pruner={pruner} judges a "
                    "policy inside the one process that trains it; give search.pruner=none in the "
                    "sweep, or train.execution.num_processes=1"
                )
            return run
        except UserError as error:
            where = " ".join(override(k, v) for k, v in cell.items())
            raise UserError(f"{self.name}, {where}: {error}") from error

    def values(self, cell: Values) -> Values:
        """What the file says of a cell: fixed keys, the cell's own, its method's settings."""
        method = self.given.get("method", cell.get("method", ""))
        return {**self.fixed, **cell, **self.settings.get(method, {})}

    def space(self, cell: Values) -> Space:
        """What is tuned in a cell: the method's own space, and the sweep file's."""
        method = self.run(cell, {}).method_name
        own = {f"method.{key}": values for key, values in search_space(method).items()}
        fixed = {*self.settings.get(method, {}), *self.given}
        both = {**own, **self.shared_space}
        return {key: values for key, values in both.items() if key not in fixed}

    def points(self) -> Iterator[tuple[Values, Values]]:
        """Every combination of the axes, in their order: its cell, and its seed as a key."""
        if not self.axes and self.checkpoints:
            return
        for point in itertools.product(*self.axes.values()):
            cell = dict(zip(self.axes, point, strict=True))
            seed = {"seed": cell.pop("seed")} if "seed" in cell else {}
            yield cell, seed

    @uncollected()
    def runs(self) -> list[Run]:
        """The run of every point, then one of every checkpoint; runs that are equal and measured in
        the same way, once."""
        unique: dict[tuple[str, str], Run] = {}
        of_points = (self.run(cell, seed) for cell, seed in self.points())
        for run in itertools.chain(of_points, self.measured()):
            unique.setdefault((run.run_id, run.evaluation_id), run)
        return list(unique.values())

    def measured(self) -> Iterator[Run]:
        """The checkpoints, each measured in every way in which the runs are."""
        axes = {key: values for key, values in self.axes.items() if reads_given(key)}
        fixed = {key: value for key, value in self.fixed.items() if reads_given(key)}
        kept = [item for item in self.extra if reads_given(item.partition("=")[0])]
        own = {item.partition("=")[0] for item in kept}
        for name, place in self.checkpoints.items():
            for point in itertools.product(*axes.values()):
                values = fixed | dict(zip(axes, point, strict=True))
                said = [override(k, v) for k, v in values.items() if k not in own]
                try:
                    yield compose_given(place, name, [*said, *kept], with_data=bool(self.axes))
                except UserError as error:
                    raise UserError(f"{self.name}, checkpoints.{name}: {error}") from error


def read_sweep_file(name: str, extra: Sequence[str] = ()) -> SweepFile:
    """`sweeps/NAME.yaml`, or a file. UserError names what is wrong in it, and the remedy."""
    path = sweep_path(name)
    plan = _load(path, name)
    axes = {axis: _axis(axis, values, path.name) for axis, values in plan["axes"].items()}
    for method, own in plan["settings"].items():
        if method not in axes.get("method", ()) or not isinstance(own, dict):
            raise UserError(
                f"{path.name}: settings.{method} must be keys and values for a method of the axes"
            )
    search, space = _search(plan["search"], path.name)
    if search is not None and plan["checkpoints"]:
        raise UserError(
            f"{path.name}: checkpoints are measured and not tuned; list them in a file of their "
            "own, with the same evaluation"
        )
    return SweepFile(
        path.stem, axes, plan["fixed"], plan["settings"], search, space, tuple(extra),
        _checkpoints(plan["checkpoints"], path.name),
    )  # fmt: skip


def sweep_path(name: str) -> Path:
    """Where the sweep of that name, or file, is or would be."""
    return Path(name) if name.endswith((".yaml", ".yml")) else shipped("sweeps") / f"{name}.yaml"


def sweep_names() -> list[str]:
    """The sweeps that come with the project."""
    return sorted(path.stem for path in shipped("sweeps").glob("*.yaml"))


def _load(path: Path, name: str) -> Values:
    import yaml

    if not path.is_file():
        hint, there = nearest(name, sweep_names()), ", ".join(sweep_names())
        raise UserError(f"unknown sweep {name!r}{hint}; there are {there}")
    try:
        plan = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from error
    plan = plan if isinstance(plan, dict) else {}
    plan = {"fixed": {}, "settings": {}, "search": None, "checkpoints": {}, **plan}
    plan |= {"axes": {}} if plan["checkpoints"] and "axes" not in plan else {}
    for part in ("axes", "fixed", "settings"):
        if not isinstance(plan.get(part), dict):
            raise UserError(
                f"{path.name}: {part!r} must be a group of keys, as in arizona-mini.yaml"
            )
    for key in plan:
        if key not in PARTS:
            raise UserError(
                f"{path.name}: unknown key {key!r}{nearest(str(key), PARTS)}; a sweep has "
                f"{', '.join(PARTS)}"
            )
    return plan


def _axis(axis: str, values: Any, where: str) -> tuple[Any, ...]:
    known = (*GROUPS, "seed")
    if axis.split(".")[0] not in known:
        raise UserError(
            f"{where}: unknown axis {axis!r}{nearest(axis, known)}; an axis is one of "
            f"{', '.join(known)}, or a key of theirs such as method.beta"
        )
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: axis {axis} is empty; give a list of values")
    return tuple(values)


def _checkpoints(given: Any, where: str) -> dict[str, str]:
    """Name -> place."""
    if not isinstance(given, dict) or not all(
        isinstance(text, str) and text for both in given.items() for text in both
    ):
        raise UserError(
            f"{where}: 'checkpoints' must be names with their places, such as "
            "zephyr: ORG/NAME, or ours: FOLDER"
        )
    return given


def _search(given: Any, where: str) -> tuple[Search | None, Space]:
    if given is None:
        return None, {}
    if not isinstance(given, dict):
        raise UserError(f"{where}: 'search' must be a group of keys, such as trials: 8")
    values = {k: v for k, v in given.items() if k != "space"}
    try:
        search = typed(Search, values, "search")
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    for key in ("trials", "rungs"):
        if getattr(search, key) < 1:
            raise UserError(f"{where}: search.{key}={getattr(search, key)} must be 1 or more")
    space = given.get("space") or {}
    return search, {k: dimension(f"search.space.{k}", v, where) for k, v in space.items()}


def multirun(overrides: Sequence[str]) -> tuple[SweepFile, str | None]:
    """`tiebreak run -m`: a sweep of all combinations of values in Hydra's grammar (`a,b`,
    `choice(a,b)`, `range(1,4)`), and the engine where `hydra/launcher=NAME` asks for one."""
    engine, axes, plain = None, {}, []
    for item in overrides:
        key, _, value = item.partition("=")
        if key == "hydra/launcher":
            engine = "local" if value == "basic" else value  # basic: what Hydra does by itself
            continue
        if found := paths(item):
            axes |= {key: found} if len(found) > 1 else {}
            plain += [item] if len(found) == 1 else []
            continue
        values = parse(item)
        if not values.is_sweep_override():
            plain.append(item)
        elif values.is_discrete_sweep():
            axes[key] = tuple(values.sweep_string_iterator())
        else:
            raise UserError(f"{item}: -m takes lists; an interval is searched in a sweep file")
    name = hashlib.sha256(" ".join(sorted(overrides)).encode()).hexdigest()[:8]
    return SweepFile(f"multirun-{name}", axes, {}, {}, None, {}, tuple(plain)), engine


def override(key: str, value: Any) -> str:
    """A value of YAML as Hydra reads it on a command line."""
    written = _OF_TYPE.get(type(value), _written)
    return f"{key}={written(value)}"


def _written(value: Any) -> str:
    """As JSON, but for the names of a group, which Hydra reads without quotes."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_written(one)}' for name, one in value.items())}}}"
    return json.dumps(value)


# A plan of many runs writes the same few numbers again and again.
_OF_TYPE: dict[type, Callable[[Any], str]] = {
    str: str, int: str, float: functools.lru_cache(maxsize=4096)(json.dumps)
}  # fmt: skip
