"""Commands that read: records, methods, data; and tables made from records."""

from __future__ import annotations

import argparse
import json

from tiebreak.cli.output import give, say
from tiebreak.errors import UserError


def runs(options: argparse.Namespace) -> None:
    from analysis.runs import listing
    from tiebreak.home import runs_dir
    from tiebreak.launch.show import runs_lines, with_liveness

    rows = with_liveness(listing(runs_dir()))
    if options.json:
        return say(json.dumps(rows, indent=1, sort_keys=True))
    for line in runs_lines(rows):
        say(line)


def methods(options: argparse.Namespace) -> None:
    from tiebreak.launch.catalogue import card, catalogue, catalogue_lines

    if options.docs:
        from tiebreak.launch.method_pages import write

        return say(f"{write(options.docs)} methods: {options.docs}")
    if options.name:
        return say(card(options.name))
    if options.json:
        return say(json.dumps(catalogue(), indent=1))
    for line in catalogue_lines():
        say(line)


def data(options: argparse.Namespace) -> None:
    from tiebreak.config.compose import compose
    from tiebreak.launch.data import show_data

    show_data(compose(options.overrides), options.rows)


def fetch(options: argparse.Namespace) -> None:
    from tiebreak.fetch import KNOWN_MODELS, fetch
    from tiebreak.home import home

    folder = fetch(options.name, home())
    say(f"licence: {KNOWN_MODELS[options.name].licence}")
    say(f"model: {folder}")


def table(options: argparse.Namespace) -> None:
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
    give(text, options.out, "table")
