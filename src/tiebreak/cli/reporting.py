"""Commands that answer: tables, pages, whole studies. They read records; `study` makes them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tiebreak.cli.output import give, say
from tiebreak.errors import UserError, nearest

if TYPE_CHECKING:
    from tiebreak.cli.answers import Answer
    from tiebreak_analysis.records.runs import Runs
    from tiebreak_analysis.studies.products import Products
    from tiebreak_analysis.studies.study import StudyReport, Sweeps

FORMATS = ("md", "tex", "csv", "html", "json")


def _loaded(options: argparse.Namespace) -> Runs:
    from tiebreak.home import runs_dir
    from tiebreak_analysis.records.runs import load

    if options.source is None:
        return load(runs_dir())
    from tiebreak_analysis.records import source_from

    return load(source_from(options.source))


def _answer(options: argparse.Namespace, runs: Runs) -> Answer:
    from tiebreak.cli.answers import answer

    command = _command(options, options.study)
    return answer(runs, options.study, options.overrides, command, _metrics(options))


def _command(options: argparse.Namespace, study: str | None) -> str:
    """The command that makes the table, for its footer."""
    words = ["tiebreak table", *([study, *options.overrides] if study else [])]
    metrics = _metrics(options)
    return " ".join([*words, *(["--metrics", ",".join(metrics)] if metrics else [])])


def _metrics(options: argparse.Namespace) -> list[str] | None:
    """The columns asked for. None: the usual ones."""
    names = [name for text in getattr(options, "metrics", None) or () for name in text.split(",")]
    return [name.strip() for name in names if name.strip()] or None


def table(options: argparse.Namespace) -> None:
    from tiebreak_analysis.page.page import table_document
    from tiebreak_analysis.tables.data import csv, sidecar
    from tiebreak_analysis.tables.text import latex, markdown

    if options.wandb is not None:
        return _publish(options)
    tables = list(_answer(options, _loaded(options)).tables.values())
    writers = {"md": markdown, "tex": latex, "csv": csv, "html": table_document, "json": sidecar}
    format = options.format or "md"
    if len(tables) > 1 and format not in ("md", "tex"):
        raise UserError(
            f"--format {format}: {options.study} has {len(tables)} tables; "
            f"tiebreak study {options.study} writes a file of each"
        )
    text = "\n".join(writers[format](one) for one in tables)
    give(text, options.out, "table")


def _publish(options: argparse.Namespace) -> None:
    """A W&B run for each table. A sweep's file is called by its name: W&B is told of no folder."""
    from tiebreak.cli.publish import Place, publish
    from tiebreak.home import home

    if options.format or options.out:
        raise UserError("--wandb sends the table in every form; leave out --format and --out")
    place = Place.of(options.wandb)
    called = Path(options.study or "all runs").name
    asked = " ".join([called, *options.overrides])
    for name, one in _answer(options, _loaded(options)).tables.items():
        whole = asked if name in (options.study, "comparison") else f"{asked} {name}"
        command = _command(options, called if options.study else None)
        where = publish(whole, replace(one, command=command), place, home())
        kept = "" if "://" in where else "kept offline, for `wandb sync`: "
        say(f"W&B: {whole}: {kept}{where}")


def page(options: argparse.Namespace) -> None:
    give(_page(_answer(options, _loaded(options))), options.out, "page")


def dashboard(options: argparse.Namespace) -> None:
    """Until Ctrl-C."""
    from tiebreak.home import runs_dir
    from tiebreak_analysis.page.server import HOST, serve

    def build() -> str:
        return _page(_answer(options, _loaded(options)), live=True)

    server = serve(build, runs_dir(), options.port)
    say(f"dashboard: http://{HOST}:{server.server_port}/ (Ctrl-C ends it)")
    try:
        server.serve_forever()
    finally:
        server.server_close()


def _page(answer: Answer, live: bool = False) -> str:
    from tiebreak_analysis.page import write

    return write(
        answer.title, answer.runs, answer.tables, run_ids=answer.run_ids, findings=answer.findings,
        live=live,
    )  # fmt: skip


def study(options: argparse.Namespace) -> None:
    """Runs what is missing; then tables, figures and page, whatever failed, as far as something
    they are made from has changed."""
    from tiebreak.cli.answers import sweeps_of
    from tiebreak.cli.running import do_all
    from tiebreak.home import home, runs_dir
    from tiebreak.sweep.sweep_file import read_sweep_file
    from tiebreak_analysis.studies import STUDIES

    found = STUDIES.get(options.name)
    if found is None:
        raise UserError(
            f"unknown study {options.name!r}{nearest(options.name, STUDIES)}; there are "
            f"{', '.join(STUDIES)}; a sweep's table: tiebreak table NAME"
        )
    if options.real and not found.real:
        raise UserError(f"--real: {found.name} has no sweeps with a paper's settings; leave it out")
    codes = [
        do_all(read_sweep_file(name), options)
        for name in (found.real if options.real else found.sweeps)
    ]
    folder: Path = options.out or home() / "results" / found.name
    sweeps = sweeps_of(found, options.real)
    _report(found, found.products(folder, sweeps, runs_dir()), sweeps)
    sys.exit(max(codes, default=0))


def _report(study: StudyReport, products: Products, sweeps: Sweeps) -> None:
    """Make what has to be made; then say the effects, what was made, and what was not."""
    from tiebreak_analysis.studies.study import effect_words

    written = _make(study, products, sweeps)
    for line in effect_words(products.folder):
        say(line)
    for paths in written.values():
        for path in paths:
            say(str(path))
    if kept := products.files(name for name in products.keys if name not in written):
        count = f"{len(kept)} file{'' if len(kept) == 1 else 's'}"
        say(f"not made again, nothing they depend on changed: {', '.join(_named(kept))} ({count})")


def _named(files: Sequence[str]) -> list[str]:
    """File names, those of one stem as one: `scenarios.{md,tex,csv}`."""
    kinds: dict[str, list[str]] = {}
    for file in files:
        stem, _, kind = file.rpartition(".")
        kinds.setdefault(stem, []).append(kind)
    return [
        f"{stem}.{found[0]}" if len(found) == 1 else f"{stem}.{{{','.join(found)}}}"
        for stem, found in kinds.items()
    ]


def _make(study: StudyReport, products: Products, sweeps: Sweeps) -> dict[str, list[Path]]:
    """Make the stale products; product -> its files."""
    stale = products.stale()
    if not stale:
        return {}
    from tiebreak.cli.answers import study_answer
    from tiebreak.home import runs_dir
    from tiebreak_analysis.records import load
    from tiebreak_analysis.studies.study import FIGURES, PAGE, write_products

    draw = FIGURES in stale
    result, answer = study_answer(study, load(runs_dir()), sweeps, study.command, draw)
    written = write_products(result, products.folder, stale)
    if PAGE in stale:
        written[PAGE] = [products.folder / "page.html"]
        written[PAGE][0].write_text(_page(answer), encoding="utf-8")
    products.record({name: written.get(name, []) for name in stale})
    return written
