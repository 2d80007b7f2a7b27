"""A report as files: tables, figures, effects, published figures. Same report, same bytes."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tiebreak_analysis.studies.effect import Effect, Part, holding
from tiebreak_analysis.studies.study import Report
from tiebreak_analysis.tables import render
from tiebreak_analysis.tables.table import Table


def write_report(report: Report, folder: Path) -> list[Path]:
    """Writes everything below `folder` and gives back the paths, in the order to read them.

    effects.md and .json; for each table .md, .tex, .csv, .html and .json (where each cell comes
    from); for each figure .pdf and .png; published.csv.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"effects.md": effects_markdown(report), "effects.json": effects_json(report)}
    for name, table in report.tables.items():
        texts |= _table_files(name, table)
    if report.published:
        texts["published.csv"] = published_csv(report)
    paths = []
    for name, text in texts.items():
        path = folder / name
        path.write_text(text, encoding="utf-8", newline="")
        paths.append(path)
    return [*paths, *_figures(report, folder)]


def _figures(report: Report, folder: Path) -> list[Path]:
    if not report.figures:
        return []
    from tiebreak_analysis.figures.style import save

    paths = []
    for name, figure in report.figures.items():
        for suffix in ("pdf", "png"):
            path = folder / f"{name}.{suffix}"
            save(figure, path)
            paths.append(path)
    return paths


def effects_markdown(report: Report) -> str:
    """The effects in words, each with its tests and details as lists."""
    lines = [f"# {report.title}: {holding(report.effects)}", ""]
    for effect in report.effects:
        lines += [f"## {effect.name}: {effect.outcome}", "", f"{effect.claim}."]
        lines += [effect.remark] if effect.remark else []
        lines += ["", *(f"- {part.words}" for part in effect.tests)]
        if effect.details:
            lines += ["", "Beside it:", "", *(f"- {part.words}" for part in effect.details)]
        lines.append("")
    lines += [
        "Brackets: 95 % intervals, over seeds and, where items are named, over items too. An "
        "effect holds when each of its tests does; a test that no interval decides leaves it open.",
        "",
    ]
    lines += [f"- {note}" for note in report.notes]
    return "\n".join(lines).rstrip() + "\n"


def effects_json(report: Report) -> str:
    found = {
        "title": report.title,
        "effects": [_effect(effect) for effect in report.effects],
        "notes": list(report.notes),
    }
    return json.dumps(found, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "name": effect.name,
        "claim": effect.claim,
        "outcome": str(effect.outcome),
        "holds": effect.holds,
        "words": effect.words,
        "tests": [_part(part) for part in effect.tests],
        "details": [_part(part) for part in effect.details],
    }


def _part(part: Part) -> dict[str, Any]:
    return {**asdict(part), "outcome": str(part.outcome), "words": part.words}


def published_csv(report: Report) -> str:
    """The published figures of the study's papers, with their marks."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = "paper version table scenario model method metric value unit source marks spread"
    writer.writerow(names.split())
    for row in report.published:
        one = row.figure
        where = [row.paper, row.version, row.table, row.scenario, row.model, row.method, row.metric]
        writer.writerow([*where, one.value, one.unit, one.source, " ".join(one.marks), one.spread])
    return text.getvalue()


def _table_files(name: str, table: Table) -> dict[str, str]:
    return {
        f"{name}.md": render.markdown(table),
        f"{name}.tex": render.latex(table),
        f"{name}.csv": render.csv(table),
        f"{name}.html": render.html(table),
        f"{name}.json": render.sidecar(table),
    }
