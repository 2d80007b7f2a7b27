"""Commands that do runs, or say what doing them would take."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tiebreak.cli.output import give, say
from tiebreak.errors import UserError

if TYPE_CHECKING:
    from tiebreak.sweep.sweep_file import Study


def run(options: argparse.Namespace) -> None:
    if options.multirun:
        from tiebreak.sweep.multirun import multirun

        study, engine = multirun(options.overrides)
        sys.exit(do_all(study, engine, None, retry=False))
    from tiebreak import interrupt
    from tiebreak.cli.printing import outcome_line, result_lines
    from tiebreak.compose import compose
    from tiebreak.run.execute import execute
    from tiebreak.run.ranks import rank

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
    from tiebreak.plan.estimate import estimate, lines
    from tiebreak.sweep.engines import workers_for
    from tiebreak.sweep.sweep_file import read_study

    name, *overrides = options.overrides
    runs = read_study(name, overrides).runs()
    for line in lines(estimate(runs, workers_for(options.workers, runs)), options.price):
        say(line)


def sweep(options: argparse.Namespace) -> None:
    from tiebreak.sweep.sweep_file import read_study

    study = read_study(options.name, options.overrides)
    if options.export or options.out:
        return export(study, options)
    launcher = options.launcher
    sys.exit(do_all(study, options.engine, options.workers, options.retry, launcher))


def do_all(
    study: Study, engine: str, workers: int | None, retry: bool, launcher: Sequence[str] = ()
) -> int:
    """Every run of a study. The exit code: 1 when one failed; told to stop, it leaves with 143."""
    from tiebreak.cli.printing import describe_report
    from tiebreak.plan.estimate import compare, estimate, refuse_without_room
    from tiebreak.sweep.engines import engine_for, workers_for
    from tiebreak.sweep.search import Tuning
    from tiebreak.sweep.sweep import folder, sweep
    from tiebreak.sweep.tasks import Grid

    runs = study.runs()  # all composed before the first starts: mistakes come now
    tasks = Tuning(study, retry) if study.search else Grid(runs, retry)
    expected = estimate(runs, workers_for(workers, runs))
    refuse_without_room(expected)
    place = engine_for(engine, workers, runs, folder(study.name) / "jobs", launcher)
    report = sweep(study.name, tasks, place, say)
    for line in [*describe_report(report), *compare(expected)]:
        say(line)
    if report.stopped or (report.interrupted and report.left):
        sys.exit(143)
    return 1 if report.failed else 0


def export(study: Study, options: argparse.Namespace) -> None:
    from tiebreak.sweep.wandb_export import export

    if not options.export:
        raise UserError(f"--out {options.out}: a sweep writes no file; give --export wandb too")
    if options.workers or options.engine != "local":
        raise UserError("--export does no run; leave --workers and --engine out")
    give(export(study), options.out, "W&B sweep")


def status(options: argparse.Namespace) -> None:
    from tiebreak.cli.printing import status_lines
    from tiebreak.sweep.search import known
    from tiebreak.sweep.standing import standings
    from tiebreak.sweep.sweep_file import read_study

    study = read_study(options.name, options.overrides)
    runs, unchosen = known(study) if study.search else (study.runs(), 0)
    for line in status_lines(study.name, standings(runs), unchosen):
        say(line)


def stop(options: argparse.Namespace) -> None:
    from tiebreak.sweep.sweep import stop
    from tiebreak.sweep.sweep_file import read_study

    say(stop(read_study(options.name).name))
