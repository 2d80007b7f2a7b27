"""The table in the README is the record it was made from, docs/demo-table.json: each number, each
mark. What a run on this machine gives is not asked: it belongs to one kind of processor."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
TABLE = json.loads((ROOT / "docs" / "demo-table.json").read_text())


def printed(row: dict[str, Any], column: dict[str, Any]) -> str:
    cell = row["cells"].get(column["key"])
    if cell is None or cell["mean"] is None:
        return ""
    scale, digits = column["scale"], column["decimals"]
    sign = "+" if column["gain"] else ""
    mean = f"{cell['mean'] * scale:{sign}.{digits}f}"
    mean = f"**{mean}**" if cell["best"] else mean + ("†" if cell["tied"] else "")
    half = "-" if cell["low"] is None else f"{(cell['high'] - cell['low']) / 2 * scale:.{digits}f}"
    return f"{mean} ± {half}"


def rows() -> list[list[str]]:
    """The cells of the README's table, scenario filled in."""
    lines = [line for line in README.splitlines() if re.match(r"\| (?!:|scenario| *\[)", line)]
    found: list[list[str]] = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) < 8:
            continue
        found.append([cells[0] or found[-1][0], *cells[1:]])
    return found


def test_each_cell_is_the_records() -> None:
    (section,) = TABLE["sections"]
    expected = [
        [row["scenario"], row["label"], *(printed(row, c) for c in section["columns"]),
         str(row["n"])]
        for row in section["rows"]
    ]  # fmt: skip
    last = [c.get("signal_to_noise") for c in section["columns"]]
    noise = ["" if value is None else f"{value:.1f}" for value in last]
    expected.append([expected[-1][0], "signal-to-noise", *noise, ""])
    assert rows() == expected and len(expected) == 16


def test_the_heading_and_the_footer_are_the_records() -> None:
    (section,) = TABLE["sections"]
    heading = next(line for line in README.splitlines() if line.startswith("### model tiny"))
    assert section["data_hash"][:8] in heading and section["evaluation"][:8] in heading
    assert f"- {TABLE['num_runs']} finished runs; made by `{TABLE['command']}`" in README
    verdicts = re.findall(r"^- \*\*(\S+)\*\*: (.*) tied for best", README, re.MULTILINE)
    marked = {
        row["scenario"]: set() for row in section["rows"]
    }  # scenario -> best and tied by gold reward
    for row in section["rows"]:
        cell = row["cells"].get("gold/reward")
        if row["label"] != "start model" and cell and (cell["best"] or cell["tied"]):
            marked[row["scenario"]].add(row["label"])
    assert {name: set(methods.split(", ")) for name, methods in verdicts} == marked


def test_what_is_said_to_hold_on_both_kinds_holds_here() -> None:
    (section,) = TABLE["sections"]
    by_scenario: dict[str, dict[str, Any]] = {}
    for row in section["rows"]:
        by_scenario.setdefault(row["scenario"], {})[row["label"]] = row["cells"]
    for scenario, methods in by_scenario.items():
        aligned = {name: cells for name, cells in methods.items() if name != "start model"}
        nearest = min(aligned, key=lambda name: aligned[name]["kl/reference"]["mean"])
        assert nearest == "cpo"
        if scenario != "align-from-instruct":
            assert all(cells["gain:gold/reward"]["low"] > 0 for cells in aligned.values())
