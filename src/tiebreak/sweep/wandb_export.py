"""A sweep file as a W&B sweep: the YAML whose agent does the same runs, under the same run ids. An
agent calls `tiebreak run` with KEY=VALUE for each parameter. Where every run of a sweep is a point
of the product of its axes, the axes are the parameters. Where runs have keys of their own
(`settings`), there is one parameter, `run`, whose values are whole lists of overrides.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from tiebreak.config.schema import TrackerMode
from tiebreak.config.typed import Choice, Interval
from tiebreak.errors import UserError
from tiebreak.sweep.search import check_space
from tiebreak.sweep.sweep_file import Pruner, Sampler, Search, SweepFile, Values, override

ARGUMENTS = "${args_no_hyphens}"
# W&B gives one argument, run=..., and the overrides in it are quoted for a shell.
SPLIT = ["${env}", "sh", "-c", 'eval "exec tiebreak run ${0#*=}"', ARGUMENTS]
METHODS = {Sampler.RANDOM: "random", Sampler.TPE: "bayes", Sampler.GRID: "grid"}


def export(sweep: SweepFile) -> str:
    """The YAML for `wandb sweep`. UserError: the file has what a W&B sweep cannot do."""
    import yaml

    runs = sweep.runs()
    blind = "W&B would see nothing of these runs"
    for run in runs:
        if run.tracker.name == "none":
            raise UserError(f"tracker=none: {blind}; give tracker=wandb")
        if (mode := run.tracker.mode) in (TrackerMode.OFFLINE, TrackerMode.DISABLED):
            raise UserError(f"tracker.mode={mode}: {blind}; leave it at auto")
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
    usage = [
        f"The W&B sweep of {sweep.name}; made by: tiebreak sweep {sweep.name} --export wandb",
        "Register it with: wandb sweep FILE; start agents where `tiebreak` is on the PATH.",
    ]
    return "".join(f"# {line}\n" for line in [*usage, *notes]) + text


def _is_product(sweep: SweepFile) -> bool:
    """Whether the axes alone tell the runs apart, and the order of the overrides is no matter."""
    keys = [*sweep.fixed, *sweep.axes, *sweep.given]
    nested = any("." in one and other.startswith(f"{one}.") for one in keys for other in keys)
    return not sweep.settings and not nested and bool(_free_axes(sweep))


def _free_axes(sweep: SweepFile) -> dict[str, tuple[Any, ...]]:
    """The axes that the command line has not fixed."""
    return {axis: values for axis, values in sweep.axes.items() if axis not in sweep.given}


def _product(sweep: SweepFile) -> Values:
    fixed = {key: value for key, value in sweep.fixed.items() if key not in sweep.axes}
    free = _free_axes(sweep).items()
    parameters = {axis: {"values": list(map(_value, values))} for axis, values in free}
    return {"command": _command(fixed, sweep.extra), "method": "grid", "parameters": parameters}


def _listed(sweep: SweepFile) -> Values:
    """Each run's overrides as one value, in the order in which `tiebreak sweep` applies them."""
    unique: dict[str, str] = {}
    for cell, seed in sweep.points():
        values = {**sweep.values(cell), **seed}
        words = [*(override(key, value) for key, value in values.items()), *sweep.extra]
        unique.setdefault(sweep.run(cell, seed).run_id, shlex.join(words))
    parameters = {"run": {"values": list(unique.values())}}
    return {"command": SPLIT, "method": "grid", "parameters": parameters}


def _tuned(sweep: SweepFile, search: Search, notes: list[str]) -> Values:
    """One method's search: the trials as `tiebreak sweep` does them, on validation rows."""
    cell = _only_cell(sweep)
    space = sweep.space(cell)
    check_space(search, space, json.dumps(cell))
    if search.pruner is not Pruner.NONE:
        notes.append(f"search.pruner={search.pruner} is left out: W&B's agent ends no run early.")
    notes.append("It tunes only: the best setting at every seed is the part of tiebreak sweep.")
    always = {"seed": search.seed, "evaluation.split": "validation"}
    corner = {k: v.values[0] if isinstance(v, Choice) else v.low for k, v in space.items()}
    sweep.run(cell, {**always, **corner})  # mistakes come now
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
