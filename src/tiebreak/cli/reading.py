"""Commands that show what is there: records, methods, data."""

from __future__ import annotations

import argparse
import json

from tiebreak.cli.output import say


def runs(options: argparse.Namespace) -> None:
    from tiebreak.cli.printing import runs_lines, with_liveness
    from tiebreak.home import runs_dir
    from tiebreak_analysis.records.runs import listing

    rows = with_liveness(listing(runs_dir()))
    if options.json:
        return say(json.dumps(rows, indent=1, sort_keys=True))
    for line in runs_lines(rows):
        say(line)


def methods(options: argparse.Namespace) -> None:
    from tiebreak.catalogue import card, catalogue, catalogue_lines

    if options.docs:
        from tiebreak.catalogue.pages import write

        return say(f"{write(options.docs)} methods: {options.docs}")
    if options.name:
        return say(card(options.name))
    if options.json:
        return say(json.dumps(catalogue(), indent=1))
    for line in catalogue_lines():
        say(line)


def data(options: argparse.Namespace) -> None:
    from tiebreak.cli.show_data import show_data
    from tiebreak.compose import compose

    show_data(compose(options.overrides), options.rows)


def fetch(options: argparse.Namespace) -> None:
    from tiebreak.fetch import KNOWN_MODELS, fetch
    from tiebreak.home import home

    folder = fetch(options.name, home())
    say(f"licence: {KNOWN_MODELS[options.name].licence}")
    say(f"model: {folder}")
