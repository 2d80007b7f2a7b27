"""docs/one-run.md: every file it names is there, and holds what it names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "one-run.md").read_text()
STEPS = re.findall(r"^\| (\d+) \| `(\S+\.py)` `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)


def test_the_walk_fits_one_screen() -> None:
    assert [int(number) for number, *_ in STEPS] == list(range(1, len(STEPS) + 1))
    assert len(STEPS) == 20 and len(PAGE.splitlines()) <= 50


@pytest.mark.parametrize(("path", "name", "told"), [step[1:] for step in STEPS])
def test_a_step_is_where_the_page_says(path: str, name: str, told: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    defined = {node.name for node in ast.walk(tree)
               if isinstance(node, ast.FunctionDef | ast.ClassDef)}  # fmt: skip
    assert name in defined, f"{path} has no {name}"
    others = [found for found in re.findall(r"`(\S+\.py)`", told)]
    near = [(ROOT / path).parent, ROOT / "src" / "tiebreak"]
    assert all(any((folder / other).is_file() for folder in near) for other in others), others
