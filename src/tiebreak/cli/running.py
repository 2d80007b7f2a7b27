"""Commands that do runs, or say what doing them would take."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tiebreak.cli.output import give, say
from tiebreak.errors import UserError

if TYPE_CHECKING:
    from tiebreak.sweep.sweep_file import SweepFile


def run(options: argparse.Namespace) -> None:
    if options.multirun:
        from tiebreak.sweep.sweep_file import multirun

        sweep_file, engine = multirun(options.overrides)
        options.engine = engine or options.engine
        sys.exit(do_all(sweep_file, options))
    if options.engine != "local" or options.launcher or options.workers:
        raise UserError("--engine, --launcher and --workers are for run -m, which does many runs")
    from tiebreak import interrupt
    from tiebreak.cli.printing import outcome_line, result_lines
    from tiebreak.compose import compose
    from tiebreak.run.distributed import rank
    from tiebreak.run.execute import execute

    with interrupt.installed():
        outcome = execute(compose(options.overrides), say)
    if rank() > 0:
        return
    for line in result_lines(outcome):
        say(line)
    say(outcome_line(outcome))


def plan(options: argparse.Namespace) -> None:
    from tiebreak.cli.printing import plan_lines
    from tiebreak.compose import compose

    if not options.overrides or "=" in options.overrides[0]:
        for line in plan_lines(compose(options.overrides)):
            say(line)
        return
    from tiebreak.plan.estimate import estimate
    from tiebreak.plan.report import lines
    from tiebreak.sweep.engines.local import workers_for
    from tiebreak.sweep.sweep_file import read_sweep_file

    name, *overrides = options.overrides
    runs = read_sweep_file(name, overrides).runs()
    for line in lines(estimate(runs, workers_for(options.workers, runs)), options.price):
        say(line)


def sweep(options: argparse.Namespace) -> None:
    from tiebreak.sweep.sweep_file import read_sweep_file

    sweep_file = read_sweep_file(options.name, options.overrides)
    if options.export or options.out:
        return export(sweep_file, options)
    sys.exit(do_all(sweep_file, options))


def do_all(sweep_file: SweepFile, options: argparse.Namespace) -> int:
    """Every run of a sweep, as the command's options say. The exit code: 1 when one failed; told to
    stop, it leaves with 143 and says which command goes on."""
    from tiebreak.cli.printing import describe_report
    from tiebreak.plan.estimate import estimate
    from tiebreak.plan.report import compare, refuse_without_room
    from tiebreak.sweep.engines import engine_for
    from tiebreak.sweep.engines.local import workers_for
    from tiebreak.sweep.search import Tuning
    from tiebreak.sweep.sweep import folder, sweep
    from tiebreak.sweep.tasks import Grid

    runs = sweep_file.runs()  # all composed before the first starts: mistakes come now
    tasks = Tuning(sweep_file, options.retry) if sweep_file.search else Grid(runs, options.retry)
    expected = estimate(runs, workers_for(options.workers, runs))
    refuse_without_room(expected)
    jobs = folder(sweep_file.name) / "jobs"
    engine = engine_for(options.engine, options.workers, runs, jobs, options.launcher)
    result = sweep(sweep_file.name, tasks, engine, say, options.command)
    for line in [*describe_report(result), *compare(expected)]:
        say(line)
    if result.stopped or (result.interrupted and result.left):
        say(f"stopped: {result.finished} of {result.total} runs are done; go on with: "
            f"{options.command}")  # fmt: skip
        sys.exit(143)
    return 1 if result.failed else 0


def export(sweep_file: SweepFile, options: argparse.Namespace) -> None:
    from tiebreak.sweep.wandb_export import export

    if not options.export:
        raise UserError(f"--out {options.out}: a sweep writes no file; give --export wandb too")
    if options.workers or options.engine != "local":
        raise UserError("--export does no run; leave --workers and --engine out")
    give(export(sweep_file), options.out, "W&B sweep")


def status(options: argparse.Namespace) -> None:
    from tiebreak.cli.printing import status_lines
    from tiebreak.sweep.search import known
    from tiebreak.sweep.sweep_file import read_sweep_file
    from tiebreak.sweep.tasks import standings

    sweep_file = read_sweep_file(options.name, options.overrides)
    runs, unchosen = known(sweep_file) if sweep_file.search else (sweep_file.runs(), 0)
    for line in status_lines(sweep_file.name, standings(runs), unchosen):
        say(line)


def stop(options: argparse.Namespace) -> None:
    from tiebreak.sweep.sweep import stop
    from tiebreak.sweep.sweep_file import read_sweep_file

    say(stop(read_sweep_file(options.name).name))
