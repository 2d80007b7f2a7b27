"""Whole documents: the page of a study, and a single table; a policy bars what is not in the file.

The page holds its data, styles and scripts. What is large is in it as gzip, which the browser
inflates when it is looked at: plotly.js (2 MB that become 4.8 MB), and all that the models wrote.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib import resources
from string import Template
from typing import Any

from tiebreak_analysis.displacement import Panel
from tiebreak_analysis.page import displacement
from tiebreak_analysis.page.answers import answered, answers
from tiebreak_analysis.page.charts import curves, results
from tiebreak_analysis.page.groups import Group, differences, groups_of, looks_of, provenance
from tiebreak_analysis.page.leaderboard import leaderboards, verdicts
from tiebreak_analysis.page.markup import Markup, join, tag, zipped
from tiebreak_analysis.page.questions import questions
from tiebreak_analysis.records.runs import Runs
from tiebreak_analysis.tables.table import LEVEL, Table, counted

SCRIPTS = ("state.js", "charts.js", "curves.js", "frontier.js", "displacement.js", "models.js",
           "answers.js", "questions.js", "leaderboard.js", "main.js")  # fmt: skip
ICON = "data:,"  # or a browser would ask for one


def write(
    title: str,
    runs: Runs,
    tables: Sequence[Table] | Mapping[str, Table] = (),
    *,
    run_ids: Collection[str] | None = None,
    findings: Sequence[str] = (),
    live: bool = False,
) -> str:
    """The whole page as text.

    `tables`: with headings where there are several. `run_ids`: only the runs of a study, running
    ones included. `findings`: sentences for the top, before the verdicts of the tables. `live`: the
    page asks its own server, and nobody else, for a newer version of itself.
    """
    named = tables if isinstance(tables, Mapping) else {str(i): t for i, t in enumerate(tables, 1)}
    tables = list(named.values())
    groups = groups_of([r for r in runs.records if run_ids is None or r.run_id in run_ids], tables)
    panels = displacement.panels_of(runs, groups)
    sentences = [*(tag("li", line) for line in findings), *verdicts(named)]
    told, texts = answers(runs, answered(groups))
    payload = _payload(runs, groups, tables, panels) | {"answers": told}
    return _document(
        title=tag("title", title).text,
        heading=tag("h1", title).text,
        about=_about(groups, live).text,
        verdicts=join(sentences).text,
        leaderboard=leaderboards(named, {group.row: group.group_id for group in groups}).text,
        displacement=displacement.table(panels, groups).text,
        settings=differences(groups).text,
        provenance=provenance(groups, runs).text,
        data=script_safe(payload | {"live": live}),
        texts=texts,
        live=live,
    )


def table_document(table: Table) -> str:
    """One table as a document: light and dark, no script, nothing loaded."""
    groups, style = groups_of(table.records, [table]), _asset("page.css")
    rules = f"default-src 'none'; style-src {policy(style)}; base-uri 'none'; form-action 'none'"
    title = " ".join(table.command.split())
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=rules),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(style)),
    ]
    parts = [
        leaderboards({"": table}, {group.row: group.group_id for group in groups}),
        tag("ul", *verdicts({"": table}), class_="verdicts"),
        tag("h3", "Where these numbers come from"),
        provenance(groups),
    ]
    body = tag("body", tag("main", *parts), class_="alone")
    document = tag("html", tag("head", *head), body, lang="en")
    return f"<!doctype html>\n{document.text}\n"


def _payload(
    runs: Runs, groups: Sequence[Group], tables: Sequence[Table], panels: Mapping[str, Panel]
) -> dict[str, Any]:
    """What the charts and filters are made from."""
    keys = [record.key for group in groups for record in group.records]
    looks = looks_of(groups)
    return {
        "groups": [
            {
                "id": group.group_id,
                "label": group.label,
                "scenario": group.scenario,
                "section": group.section,
                "runs": [[r.key, r.seed] for r in group.records],
                **looks[group.label],
            }
            for group in groups
        ],
        "curves": curves(runs.history(keys), groups),
        "results": results(groups, tables),
        "displacement": displacement.buckets(panels),
        "questions": questions(runs, answered(groups)),
        "level": LEVEL,
    }


def script_safe(payload: object) -> str:
    """JSON that no HTML parser can leave early: it holds no `<`, `>`, `&`, U+2028 or U+2029."""
    text = json.dumps(payload, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _about(groups: Sequence[Group], live: bool) -> Markup:
    counts = Counter(record.status for group in groups for record in group.records)
    runs = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none"
    methods = counted(len({group.method for group in groups}), "method")
    scenarios = counted(len({group.scenario for group in groups}), "scenario")
    text = f"runs: {runs} · {methods} · {scenarios}"
    return tag("p", f"{text} · refreshed while runs go on" if live else text, class_="about")


def _asset(name: str) -> str:
    return (resources.files("tiebreak_analysis.page") / "assets" / name).read_text(encoding="utf-8")


def _document(live: bool, **parts: str) -> str:
    """Fill the template. What may run or style is named by hash; nothing else can."""
    packed, plotly_policy, plotly_sheets = library()
    script = "\n".join(_asset(name) for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}\n}})();'
    style, plotly_style = _asset("page.css"), "/* rules that plotly.js adds */"
    rules = [
        "default-src 'none'",
        f"script-src {policy(script)} {plotly_policy}",
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
        library=packed,
        no_styles=join(tag("template", id=name) for name in plotly_sheets).text,
    )


@cache
def library() -> tuple[str, str, list[str]]:
    """plotly.js as the page holds it (gzipped, in base64), the hash by which the policy lets it
    run, and ids of style sheets that it would add, for maps: where an element of that id is there,
    it does not. The page has no map, and its policy would refuse them with a message."""
    from plotly.offline import get_plotlyjs

    script = get_plotlyjs()
    styles = re.findall(r'if\(!document\.getElementById\("([0-9a-f]{64})"\)\)', script)
    return zipped(script), policy(script), styles


def policy(content: str) -> str:
    """A source expression of a content security policy: exactly this text may be run or used."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
