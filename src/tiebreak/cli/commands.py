"""What each command does. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tiebreak.errors import UserError, nearest
from tiebreak.home import home, runs_dir

if TYPE_CHECKING:
    from tiebreak.cli.answers import Answer
    from tiebreak.compose import Run
    from tiebreak.sweep.sweep_file import SweepFile
    from tiebreak_analysis.studies.products import Products
    from tiebreak_analysis.studies.study import StudyReport, Sweeps


def say(*lines: str) -> None:
    """Print lines on stdout at once, whatever reads it."""
    for line in lines:
        print(line, flush=True)


def give(text: str, out: Path | None, what: str) -> None:
    """Write text to the file `out`, or to stdout where it is None."""
    if out is None:
        return say(text.rstrip("\n"))
    try:
        out.write_text(text)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}; give a file to write") from error
    say(f"{what}: {out}")


def run(options: argparse.Namespace) -> None:
    if options.multirun:
        from tiebreak.sweep.sweep_file import multirun

        sweep_file, engine = multirun(options.overrides)
        options.engine = engine or options.engine
        sys.exit(do_all(sweep_file, options))
    if options.engine != "local" or options.launcher or options.workers:
        raise UserError("--engine, --launcher and --workers are for run -m, which does many runs")
    from tiebreak.compose import compose

    _do(compose(options.overrides))


def _do(run: Run) -> None:
    from tiebreak import interrupt
    from tiebreak.cli.printing import outcome_lines
    from tiebreak.run.distributed import rank
    from tiebreak.run.execute import execute

    with interrupt.installed():
        outcome = execute(run, say)
    if rank() == 0:
        say(*outcome_lines(outcome))


def evaluate(options: argparse.Namespace) -> None:
    from tiebreak.compose import compose_given

    _do(compose_given(options.model, options.called, options.overrides))


def plan(options: argparse.Namespace) -> None:
    first = options.overrides[0] if options.overrides else "="
    one_run = "=" in first and not Path(first).is_file()
    if options.gpus and not options.gpu:
        raise UserError(f"--gpus {options.gpus}: give --gpu NAME too, such as --gpu h100")
    if options.gpu:
        return _plan_layout(one_run, options)
    if one_run:
        from tiebreak.cli.printing import plan_lines
        from tiebreak.compose import compose

        return say(*plan_lines(compose(options.overrides)))
    from tiebreak.plan.estimate import estimate, workers_for
    from tiebreak.plan.report import lines

    name, *overrides = options.overrides
    runs = _sweep_file(name, overrides).runs()
    say(*lines(estimate(runs, workers_for(options.workers, runs)), options.price))


def _plan_layout(one_run: bool, options: argparse.Namespace) -> None:
    from tiebreak.compose import compose
    from tiebreak.plan.gpus import gpu_named
    from tiebreak.plan.layouts import layout_lines

    gpu, count = gpu_named(options.gpu), options.gpus or 1
    if one_run:
        runs = [compose(options.overrides)]
    else:
        name, *overrides = options.overrides
        runs = _sweep_file(name, overrides).runs()
    say(*layout_lines(runs, gpu, count, options.price, options.workers))


def _sweep_file(name: str, overrides: Iterable[str] = ()) -> SweepFile:
    from tiebreak.sweep.sweep_file import read_sweep_file

    return read_sweep_file(name, tuple(overrides))


def sweep(options: argparse.Namespace) -> None:
    sweep_file = _sweep_file(options.name, options.overrides)
    if not (options.export or options.out):
        sys.exit(do_all(sweep_file, options))
    from tiebreak.sweep.wandb_export import export

    if not options.export:
        raise UserError(f"--out {options.out}: a sweep writes no file; give --export wandb too")
    if options.workers or options.engine != "local":
        raise UserError("--export does no run; leave --workers and --engine out")
    give(export(sweep_file), options.out, "W&B sweep")


def do_all(sweep_file: SweepFile, options: argparse.Namespace) -> int:
    """Do every run of a sweep, as the options say. Returns the exit code, 1 when a run failed; told
    to stop, it leaves with 143 and says which command goes on."""
    from tiebreak.cli.printing import describe_report
    from tiebreak.plan.estimate import estimate
    from tiebreak.plan.report import compare, refuse_without_room
    from tiebreak.run.execute import ready_to_judge
    from tiebreak.sweep.engines import engine_for
    from tiebreak.sweep.engines.local import workers_for
    from tiebreak.sweep.search import SearchTasks
    from tiebreak.sweep.tasks import Grid, folder, sweep

    runs = sweep_file.runs()  # all composed before the first starts: mistakes come now
    say(*ready_to_judge(runs))
    retry = options.retry
    tasks = SearchTasks(sweep_file, retry) if sweep_file.search else Grid(runs, retry)
    expected = estimate(runs, workers_for(options.workers, runs))
    refuse_without_room(expected)
    jobs = folder(sweep_file.name) / "jobs"
    engine = engine_for(options.engine, options.workers, runs, jobs, options.launcher)
    result = sweep(sweep_file.name, tasks, engine, say, options.command)
    say(*describe_report(result), *compare(expected))
    if result.stopped or (result.interrupted and result.left):
        say(f"stopped: {result.finished} of {result.total} runs are done; go on with: "
            f"{options.command}")  # fmt: skip
        sys.exit(143)
    return 1 if result.failed else 0


def status(options: argparse.Namespace) -> None:
    from tiebreak.cli.printing import status_lines
    from tiebreak.sweep.search import known
    from tiebreak.sweep.tasks import standings

    sweep_file = _sweep_file(options.name, options.overrides)
    runs, unchosen = known(sweep_file) if sweep_file.search else (sweep_file.runs(), 0)
    say(*status_lines(sweep_file.name, standings(runs), unchosen))


def stop(options: argparse.Namespace) -> None:
    from tiebreak.sweep.tasks import stop

    say(stop(_sweep_file(options.name).name))


def runs(options: argparse.Namespace) -> None:
    from tiebreak.cli.printing import runs_lines, with_liveness
    from tiebreak_analysis.records.runs import listing

    rows = with_liveness(listing(runs_dir()))
    say(*([json.dumps(rows, indent=1, sort_keys=True)] if options.json else runs_lines(rows)))


def methods(options: argparse.Namespace) -> None:
    from tiebreak.catalogue import card, catalogue, catalogue_lines, write_pages

    if options.docs:
        say(f"{write_pages(options.docs)} methods: {options.docs}")
    elif options.name:
        say(card(options.name))
    else:
        say(*([json.dumps(catalogue(), indent=1)] if options.json else catalogue_lines()))


def data(options: argparse.Namespace) -> None:
    from tiebreak.cli.printing import show_data
    from tiebreak.compose import compose

    show_data(compose(options.overrides), options.rows)


def fetch(options: argparse.Namespace) -> None:
    from tiebreak.fetch import KNOWN_MODELS, fetch, known

    folder = fetch(options.name, home())
    what = "model" if options.name in KNOWN_MODELS else "files"
    say(f"licence: {known(options.name).licence}", f"{what}: {folder}")


def mirror(options: argparse.Namespace) -> None:
    from tiebreak.harness.mirror import make

    say(*make(options.files, options.folder))


def _answer(options: argparse.Namespace) -> Answer:
    """What the records that a command asks for, or those of this home, say."""
    from tiebreak.cli.answers import answer
    from tiebreak_analysis.records import load, source_from

    runs = load(runs_dir() if options.source is None else source_from(options.source))
    command = _command(options, options.study)
    return answer(runs, options.study, options.overrides, command, options.metrics or None)


def _command(options: argparse.Namespace, study: str | None) -> str:
    """The command that makes the table, for its footer."""
    words = ["tiebreak table", *([study, *options.overrides] if study else [])]
    return " ".join(words + (["--metrics", ",".join(options.metrics)] if options.metrics else []))


def judge(options: argparse.Namespace) -> None:
    """Every judgement is kept as it comes: told to stop, the same command goes on."""
    from tiebreak import interrupt
    from tiebreak.engine.progress import quiet_libraries
    from tiebreak.run.judge_check import check

    quiet_libraries()
    with interrupt.installed():
        check(options.data, options.overrides, say, options.pairs)


def table(options: argparse.Namespace) -> None:
    from tiebreak_analysis.page.page import table_document
    from tiebreak_analysis.tables.data import csv, sidecar
    from tiebreak_analysis.tables.text import latex, markdown

    if options.wandb is not None:
        return _publish(options)
    tables = list(_answer(options).tables.values())
    writers = {"md": markdown, "tex": latex, "csv": csv, "html": table_document, "json": sidecar}
    format = options.format or "md"
    if len(tables) > 1 and format not in ("md", "tex"):
        raise UserError(
            f"--format {format}: {options.study} has {len(tables)} tables; "
            f"tiebreak study {options.study} writes a file of each"
        )
    give("\n".join(map(writers[format], tables)), options.out, "table")


def _publish(options: argparse.Namespace) -> None:
    """A W&B run for each table. A sweep's file is called by its name: W&B is told of no folder."""
    from tiebreak.cli.answers import place_of, publish

    if options.format or options.out:
        raise UserError("--wandb sends the table in every form; leave out --format and --out")
    place = place_of(options.wandb)
    called = Path(options.study or "all runs").name
    asked = " ".join([called, *options.overrides])
    command = _command(options, called if options.study else None)
    for name, table in _answer(options).tables.items():
        whole = asked if name in (options.study, "comparison") else f"{asked} {name}"
        where = publish(whole, replace(table, command=command), place, home())
        say(f"W&B: {whole}: {'' if '://' in where else 'kept offline, for `wandb sync`: '}{where}")


def page(options: argparse.Namespace) -> None:
    give(_answer(options).page(), options.out, "page")


def dashboard(options: argparse.Namespace) -> None:
    """Until Ctrl-C."""
    from tiebreak_analysis.page.server import HOST, serve

    server = serve(lambda: _answer(options).page(live=True), runs_dir(), options.port)
    say(f"dashboard: http://{HOST}:{server.server_port}/ (Ctrl-C ends it)")
    try:
        server.serve_forever()
    finally:
        server.server_close()


def study(options: argparse.Namespace) -> None:
    """Runs what is missing of a study or a sweep; then tables, figures and page, whatever failed,
    as far as something they are made from has changed."""
    from tiebreak.cli.answers import sweeps_of
    from tiebreak_analysis.studies.study import effect_words

    study, extra = _study(options.name, options.overrides), options.overrides
    if options.real and not study.real:
        raise UserError(f"--real: {study.name} has no sweeps with a paper's settings; leave it out")
    names = study.real if options.real else study.sweeps
    codes = [do_all(_sweep_file(name, extra), options) for name in names]
    sweeps = sweeps_of(study, options.real, extra)
    products = study.products(options.out or home() / "results" / study.name, sweeps, runs_dir())
    written = _make(study, products, sweeps)
    tables = (products.folder / f"{table.name}.md" for table in study.tables)
    say(*(path.read_text().rstrip() for path in tables), *effect_words(products.folder))
    say(*(str(path) for files in written.values() for path in files))
    if unchanged := products.files(name for name in products.keys if name not in written):
        count = f"{len(unchanged)} file{'' if len(unchanged) == 1 else 's'}"
        files = ", ".join(_named(unchanged))
        say(f"not made again, nothing they depend on changed: {files} ({count})")
    sys.exit(max(codes, default=0))


def _study(name: str, overrides: Sequence[str]) -> StudyReport:
    """The study of that name, else the sweep of that name or file as a study of its own."""
    from tiebreak.sweep.sweep_file import sweep_names, sweep_path
    from tiebreak_analysis.studies import STUDIES, of_sweep

    if (study := STUDIES.get(name)) is None:
        if not sweep_path(name).is_file():
            raise UserError(
                f"unknown study {name!r}{nearest(name, [*STUDIES, *sweep_names()])}; there are "
                f"{', '.join(STUDIES)}, and the sweeps {', '.join(sweep_names())}"
            )
        return of_sweep(name, overrides)
    if overrides:
        raise UserError(f"{overrides[0]}: a study has its own settings; leave it out")
    return study


def _named(files: Iterable[str]) -> Iterator[str]:
    """File names, those of one stem as one: `scenarios.{md,tex,csv}`."""
    kinds: dict[str, list[str]] = {}
    for file in files:
        stem, _, kind = file.rpartition(".")
        kinds.setdefault(stem, []).append(kind)
    for stem, found in kinds.items():
        yield f"{stem}.{found[0]}" if len(found) == 1 else f"{stem}.{{{','.join(found)}}}"


def _make(study: StudyReport, products: Products, sweeps: Sweeps) -> dict[str, list[Path]]:
    """Make the stale products; product -> its files."""
    stale = products.stale()
    if not stale:
        return {}
    from tiebreak.cli.answers import study_answer
    from tiebreak_analysis.records import load
    from tiebreak_analysis.studies.study import FIGURES, PAGE, write_products

    runs = load(runs_dir())
    result, answer = study_answer(study, runs, sweeps, study.command, draw=FIGURES in stale)
    written = write_products(result, products.folder, stale)
    if PAGE in stale:
        written[PAGE] = [products.folder / "page.html"]
        written[PAGE][0].write_text(answer.page(), encoding="utf-8")
    products.record({name: written.get(name, []) for name in stale})
    return written
