"""Every import in a Python block of README.md and docs/ names something that is there."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def imported(page: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of what the blocks import from this project."""
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tiebreak"):
                yield from ((node.module or "", alias.name) for alias in node.names)


IMPORTS = sorted({(page.name, *one) for page in PAGES for one in imported(page)})


@pytest.mark.parametrize(("page", "module", "name"), IMPORTS)
def test_a_documented_import_works(page: str, module: str, name: str) -> None:
    found = importlib.import_module(module)
    assert hasattr(found, name) or importlib.import_module(f"{module}.{name}")


def test_there_are_some() -> None:
    assert len(IMPORTS) > 10
