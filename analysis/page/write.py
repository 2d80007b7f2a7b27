"""The page: one HTML file with data, styles and scripts in it, and a policy that bars the rest."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any

from tiebreak_analysis.displacement import Panel
from tiebreak_analysis.figures.palette import Look
from tiebreak_analysis.page import displaced
from tiebreak_analysis.page.answers import answers, shown_runs
from tiebreak_analysis.page.curves import curves
from tiebreak_analysis.page.groups import Group, groups_of
from tiebreak_analysis.page.leaderboard import leaderboards, verdicts
from tiebreak_analysis.page.library import library, policy
from tiebreak_analysis.page.looks import looks_of, plotly
from tiebreak_analysis.page.markup import Markup, join, tag
from tiebreak_analysis.page.provenance import provenance
from tiebreak_analysis.page.results import results
from tiebreak_analysis.page.settings import differences
from tiebreak_analysis.records.runs import Runs
from tiebreak_analysis.tables.table import Table

SCRIPTS = ("state.js", "charts.js", "curves.js", "frontier.js", "displacement.js", "answers.js",
           "leaderboard.js", "main.js")  # fmt: skip
ICON = "data:,"  # or a browser would ask for one


def write(
    title: str,
    runs: Runs,
    tables: Sequence[Table] | Mapping[str, Table] = (),
    *,
    run_ids: Collection[str] | None = None,
    findings: Sequence[str] = (),
    level: float = 0.95,
    live: bool = False,
) -> str:
    """The whole page as text.

    `tables`: with headings where there are several. `run_ids`: only the runs of a study, running
    ones included. `findings`: sentences for the top, before the verdicts of the tables. `level`:
    of intervals that no table has. `live`: the page asks its own server, and nobody else, for a
    newer version of itself.
    """
    named = tables if isinstance(tables, Mapping) else {str(i): t for i, t in enumerate(tables, 1)}
    tables = list(named.values())
    groups = groups_of([r for r in runs.records if run_ids is None or r.run_id in run_ids], tables)
    looks, panels = looks_of(groups), displaced.panels_of(runs, groups)
    said = [*(tag("li", line) for line in findings), *verdicts(named)]
    payload = _payload(runs, groups, tables, panels, looks, level)
    return _document(
        title=tag("title", title).text,
        heading=tag("h1", title).text,
        about=_about(groups, live).text,
        verdicts=join(said).text,
        leaderboard=leaderboards(named).text,
        displacement=displaced.table(panels, groups).text,
        settings=differences(groups).text,
        provenance=provenance(runs, groups).text,
        data=script_safe(payload | {"live": live}),
        live=live,
    )


def _payload(
    runs: Runs,
    groups: Sequence[Group],
    tables: Sequence[Table],
    panels: Mapping[str, Panel],
    looks: Mapping[str, Look],
    level: float,
) -> dict[str, Any]:
    """What the charts, filters and answers are made from."""
    ids = [record.run_id for group in groups for record in group.records]
    shown = shown_runs(groups)
    told = list(shown.values())
    return {
        "groups": [
            {
                "id": group.group_id,
                "label": group.label,
                "scenario": group.scenario,
                "section": group.section,
                "runs": [[r.run_id, r.seed] for r in group.records],
                **plotly(looks[group.label]),
            }
            for group in groups
        ],
        "curves": curves(runs.history(ids), groups),
        "results": results(groups, tables, level),
        "displacement": displaced.buckets(panels),
        "answers": answers(runs.generations(told), runs.items(told), shown),
        "level": level,
    }


def script_safe(payload: object) -> str:
    """JSON that no HTML parser can leave early: it holds no `<`, `>`, `&`, U+2028 or U+2029."""
    text = json.dumps(payload, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _about(groups: Sequence[Group], live: bool) -> Markup:
    counts: dict[str, int] = {}
    for group in groups:
        for record in group.records:
            counts[record.status] = counts.get(record.status, 0) + 1
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none"
    methods = {group.method for group in groups}
    scenarios = {group.scenario for group in groups}
    text = f"runs: {told} · {_count(methods, 'method')} · {_count(scenarios, 'scenario')}"
    return tag("p", f"{text} · refreshed while runs go on" if live else text, class_="about")


def _count(names: Collection[str], what: str) -> str:
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'}"


def _asset(name: str) -> str:
    return (
        resources.files("tiebreak_analysis.page")
        .joinpath("assets", name)
        .read_text(encoding="utf-8")
    )


def _document(live: bool, **parts: str) -> str:
    """Fill the template. What may run or style is named by hash; nothing else can."""
    plotly_js = library()
    script = "\n".join(_asset(name) for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}\n}})();'
    style, plotly_style = _asset("page.css"), "/* rules that plotly.js adds */"
    rules = [
        "default-src 'none'",
        f"script-src {policy(script)} {plotly_js.policy}",
        f"style-src {policy(style)} {policy(plotly_style)}",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        *(["connect-src 'self'"] if live else []),
    ]
    return Template(_asset("page.html")).substitute(
        parts,
        policy="; ".join(rules),
        icon=ICON,
        style=style,
        plotly_style=plotly_style,
        script=script,
        library=plotly_js.packed,
        no_styles=join(tag("template", id=one) for one in plotly_js.styles).text,
    )
