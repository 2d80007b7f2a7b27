"""Commands that answer: tables, pages, whole studies. They read records; `study` makes them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tiebreak.cli.output import give, say
from tiebreak.errors import UserError, nearest

if TYPE_CHECKING:
    from analysis.runs import Runs
    from analysis.studies import Report, StudyReport
    from analysis.tables.table import Table

FORMATS = ("md", "tex", "csv", "html", "json")


def _loaded(options: argparse.Namespace) -> Runs:
    from analysis.runs import load
    from tiebreak.home import runs_dir

    if options.source is None:
        return load(runs_dir())
    from analysis.sources import source_from

    return load(source_from(options.source))


def _command(options: argparse.Namespace, name: str) -> str:
    study = [options.study, *options.overrides] if options.study else []
    return " ".join([f"tiebreak {name}", *study])


def _tables(options: argparse.Namespace, runs: Runs, command: str) -> list[Table]:
    """Those of a study, or the one of a sweep or of all runs."""
    from tiebreak.launch.report import study_named, study_report, sweep_table

    study = None if options.study is None else study_named(options.study)
    if study is None:
        return [sweep_table(runs, options.study, options.overrides, command)]
    if options.overrides:
        raise UserError(f"{options.overrides[0]}: a study has its own settings; leave it out")
    tables = list(study_report(study, runs, command).tables.values())
    if not tables:
        raise UserError(
            f"no run of {study.name} is finished yet; do them with: tiebreak study {study.name}"
        )
    return tables


def table(options: argparse.Namespace) -> None:
    from analysis.tables import render

    tables = _tables(options, _loaded(options), _command(options, "table"))
    writers = {"md": render.markdown, "tex": render.latex, "csv": render.csv, "html": render.html,
               "json": render.sidecar}  # fmt: skip
    if len(tables) > 1 and options.format not in ("md", "tex"):
        raise UserError(
            f"--format {options.format}: {options.study} has {len(tables)} tables; "
            f"tiebreak study {options.study} writes a file of each"
        )
    text = "\n".join(writers[options.format](one) for one in tables)
    give(text, options.out, "table")


def page(options: argparse.Namespace) -> None:
    give(_page(options, live=False), options.out, "page")


def dashboard(options: argparse.Namespace) -> None:
    """Until Ctrl-C."""
    from analysis.page.server import HOST, serve
    from tiebreak.home import runs_dir

    server = serve(lambda: _page(options, live=True), runs_dir(), options.port)
    say(f"dashboard: http://{HOST}:{server.server_port}/ (Ctrl-C ends it)")
    try:
        server.serve_forever()
    finally:
        server.server_close()


def _page(options: argparse.Namespace, live: bool) -> str:
    from analysis.page.write import write
    from tiebreak.launch.report import study_named, study_report

    runs = _loaded(options)
    study = None if options.study is None else study_named(options.study)
    if study is not None:
        report = study_report(study, runs, _command(options, "study"))
        return _study_page(study, report, runs, live)
    tables = _tables(options, runs, _command(options, "table"))
    ids = None if options.study is None else _ids(tables)
    return write(options.study or "All runs", runs, tables, run_ids=ids, live=live)


def _ids(tables: list[Table]) -> set[str]:
    return {
        run for table in tables for s in table.sections for row in s.rows for run in row.run_ids
    }


def _study_page(study: StudyReport, report: Report, runs: Runs, live: bool = False) -> str:
    from analysis.page.write import write

    tables = list(report.tables.values())
    findings = [effect.words for effect in report.effects]
    return write(study.title, runs, tables, run_ids=_ids(tables), findings=findings, live=live)


def study(options: argparse.Namespace) -> None:
    """Runs what is missing; then tables, figures and page, whatever failed."""
    from analysis.runs import load
    from analysis.studies import STUDIES, write_report
    from tiebreak.cli.running import do_all
    from tiebreak.home import home, runs_dir
    from tiebreak.launch.report import study_named, study_report
    from tiebreak.launch.study import read_study

    found = study_named(options.name)
    if found is None:
        raise UserError(
            f"unknown study {options.name!r}{nearest(options.name, STUDIES)}; there are "
            f"{', '.join(STUDIES)}; a sweep's table: tiebreak table NAME"
        )
    codes = [
        do_all(read_study(name), options.engine, options.workers, options.retry, options.launcher)
        for name in (found.real if options.real else found.sweeps)
    ]
    runs = load(runs_dir())
    report = study_report(found, runs, f"tiebreak study {found.name}", options.real)
    folder: Path = options.out or home() / "results" / found.name
    paths = write_report(report, folder)
    paths.append(folder / "page.html")
    paths[-1].write_text(_study_page(found, report, runs), encoding="utf-8")
    for effect in report.effects:
        say(effect.words)
    for path in paths:
        say(str(path))
    sys.exit(max(codes, default=0))
