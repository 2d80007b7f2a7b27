"""A sweep file as a W&B sweep: the YAML whose agent does the same runs, under the same run ids.

An agent calls `tiebreak run` with KEY=VALUE for each parameter. Where every run of a sweep is a
point of the product of its axes, the axes are the parameters. Where runs have keys of their own
(`settings`), there is one parameter, `run`, whose values are whole lists of overrides.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from tiebreak.compose import Run
from tiebreak.config.schema import TrackerMode
from tiebreak.config.typed import Choice, Interval, Space
from tiebreak.errors import UserError
from tiebreak.sweep.sweep_file import Pruner, Sampler, Search, SweepFile, Values, override

ARGUMENTS = "${args_no_hyphens}"
# W&B gives one argument, run=..., and the overrides in it are quoted for a shell.
SPLIT = ["${env}", "sh", "-c", 'eval "exec tiebreak run ${0#*=}"', ARGUMENTS]
METHODS = {Sampler.RANDOM: "random", Sampler.TPE: "bayes", Sampler.GRID: "grid"}


def export(sweep: SweepFile) -> str:
    """The YAML for `wandb sweep`. UserError: the file has what a W&B sweep cannot do."""
    import yaml

    runs = sweep.runs()
    for run in runs:
        _check_tracker(run)
    notes: list[str] = []
    if sweep.search is not None:
        config = _tuned(sweep, sweep.search, notes)
    elif _is_product(sweep):
        config = _product(sweep)
    else:
        config = _listed(sweep)
    tracker = runs[0].tracker
    head = {"name": sweep.name, "project": tracker.project, "entity": tracker.entity}
    whole = {**{k: v for k, v in head.items() if v is not None}, "program": "tiebreak", **config}
    text = yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=10_000)
    return "".join(f"# {line}\n" for line in [*_usage(sweep.name), *notes]) + text


def _usage(name: str) -> list[str]:
    return [
        f"The W&B sweep of {name}; made by: tiebreak sweep {name} --export wandb",
        "Register it with: wandb sweep FILE; start agents where `tiebreak` is on the PATH.",
    ]


def _check_tracker(run: Run) -> None:
    tracker = run.tracker
    if tracker.name == "none":
        raise UserError("tracker=none: W&B would see nothing of these runs; give tracker=wandb")
    if tracker.mode in (TrackerMode.OFFLINE, TrackerMode.DISABLED):
        raise UserError(
            f"tracker.mode={tracker.mode}: W&B would see nothing of these runs; leave it at auto"
        )


def _is_product(sweep: SweepFile) -> bool:
    """Whether the axes alone tell the runs apart, and the order of the overrides is no matter."""
    keys = [*sweep.fixed, *sweep.axes, *_keys(sweep.extra)]
    nested = any("." in one and other.startswith(f"{one}.") for one in keys for other in keys)
    return not sweep.settings and not nested and bool(_free_axes(sweep))


def _keys(overrides: Iterable[str]) -> set[str]:
    return {one.partition("=")[0] for one in overrides}


def _free_axes(sweep: SweepFile) -> dict[str, tuple[Any, ...]]:
    """The axes that the command line has not fixed."""
    given = _keys(sweep.extra)
    return {axis: values for axis, values in sweep.axes.items() if axis not in given}


def _product(sweep: SweepFile) -> Values:
    axes = _free_axes(sweep)
    fixed = {key: value for key, value in sweep.fixed.items() if key not in sweep.axes}
    return {
        "command": _command(fixed, sweep.extra),
        "method": "grid",
        "parameters": {
            axis: {"values": [_value(value) for value in values]} for axis, values in axes.items()
        },
    }


def _listed(sweep: SweepFile) -> Values:
    """Each run's overrides as one value, in the order in which `tiebreak sweep` applies them."""
    unique: dict[str, str] = {}
    for cell, seed in sweep.points():
        values = {**sweep.values(cell), **seed}
        words = [*(override(key, value) for key, value in values.items()), *sweep.extra]
        unique.setdefault(sweep.run(cell, seed).run_id, shlex.join(words))
    return {
        "command": SPLIT,
        "method": "grid",
        "parameters": {"run": {"values": list(unique.values())}},
    }


def _tuned(sweep: SweepFile, search: Search, notes: list[str]) -> Values:
    """One method's search: the trials as `tiebreak sweep` does them, on validation rows."""
    cell = _only_cell(sweep)
    space = sweep.space(cell)
    if not space:
        raise UserError(
            f"nothing to tune for {json.dumps(cell)}: its method has no search space; give "
            "search.space in the sweep"
        )
    if search.sampler is Sampler.GRID:
        for key, values in space.items():
            if isinstance(values, Interval):
                raise UserError(f"search.sampler=grid needs lists, and {key} is an interval")
    if search.pruner is not Pruner.NONE:
        notes.append(f"search.pruner={search.pruner} is left out: W&B's agent ends no run early.")
    notes.append("It tunes only: the best setting at every seed is the part of tiebreak sweep.")
    always = {"seed": search.seed, "evaluation.split": "validation"}
    sweep.run(cell, {**always, **_corner(space)})  # mistakes come now
    fixed = {k: v for k, v in {**sweep.values(cell), **always}.items() if k not in space}
    return {
        "command": _command(fixed, sweep.extra),
        "method": METHODS[search.sampler],
        "metric": {"name": search.metric, "goal": "maximize" if search.maximise else "minimize"},
        "run_cap": search.trials,
        "parameters": {key: _dimension(values) for key, values in space.items()},
    }


def _only_cell(sweep: SweepFile) -> Values:
    for axis, values in sweep.axes.items():
        if axis != "seed" and len(values) > 1:
            raise UserError(
                f"{sweep.name}: a W&B sweep tunes one method in one place, and axis {axis} has "
                f"{len(values)} values; leave one of them in a copy of the file, or tune all with: "
                f"tiebreak sweep {sweep.name}"
            )
    return next(sweep.cells())


def _corner(space: Space) -> Values:
    return {k: v.values[0] if isinstance(v, Choice) else v.low for k, v in space.items()}


def _dimension(values: Choice | Interval) -> Values:
    if isinstance(values, Choice):
        return {"values": [_value(value) for value in values.values]}
    kind = "log_uniform_values" if values.log else "uniform"
    return {"distribution": kind, "min": float(values.low), "max": float(values.high)}


def _command(fixed: Values, extra: Sequence[str]) -> list[str]:
    before = [override(key, value) for key, value in fixed.items()]
    return ["${env}", "${program}", "run", *before, ARGUMENTS, *extra]


def _value(value: Any) -> Any:
    """A number or a text as it is; an agent would write None and [a, b] as Python does."""
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return value if plain else json.dumps(value)
