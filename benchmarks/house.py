"""The house in numbers: lines, files, import cycles, the longest chain of imports, small files.

    python benchmarks/house.py        (or: make house)

Counts every line of Python below src and analysis. Imports are read from the source: those inside
functions and those for type checkers count too, so a cycle of types is a cycle. CONTRIBUTING.md has
the figures of the commit before the redesign and after it; tests/test_house_limits.py holds the
limits.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"tiebreak": ROOT / "src" / "tiebreak", "tiebreak_analysis": ROOT / "analysis"}
MOST_LINES, MOST_FILES, MOST_CHAIN = 35_000, 235, 6
SMALL = 80  # lines; a smaller file has two importers, or says in its first line why it is one
# Folders whose files are found by being there; nobody imports them by name.
FOUND = ("methods", "data/sources", "stages/evaluators", "sweep/engines")
Graph = Mapping[str, frozenset[str]]


@cache
def files() -> dict[str, Path]:
    """Module -> its file."""
    return {
        ".".join((package, *path.relative_to(folder).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for package, folder in PACKAGES.items()
        for path in sorted(folder.rglob("*.py"))
    }


@cache
def graph() -> dict[str, frozenset[str]]:
    """Module -> the modules of the project that it imports."""
    return {name: frozenset(_imported(name, path)) - {name} for name, path in files().items()}


def _imported(name: str, path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files())
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in files():
                    yield whole
                elif node.module in files():
                    yield node.module


def lines() -> int:
    return sum(len(path.read_text().splitlines()) for path in files().values())


def cycles(modules: Graph) -> list[list[str]]:
    """Groups of modules that import one another, each sorted (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in modules[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in modules:
        if name not in index:
            visit(name)
    return groups


def longest_chain(folder: str) -> list[str]:
    """The longest chain of imports among the modules of one package's folder, such as
    "tiebreak_analysis.tables": how many storeys it has."""
    inside = {name: [o for o in graph()[name] if o.startswith(f"{folder}.")]
              for name in files() if name.startswith(f"{folder}.")}  # fmt: skip

    @cache
    def chain(name: str) -> tuple[str, ...]:
        below = max((chain(other) for other in inside[name]), key=len, default=())
        return (name, *below)

    return list(max((chain(name) for name in inside), key=len, default=()))


def importers(name: str) -> set[str]:
    return {other for other, imported in graph().items() if name in imported}


def unexplained() -> dict[str, int]:
    """Small files with fewer than two importers whose first line gives no reason in brackets."""
    found = {}
    for name, path in files().items():
        place = path.relative_to(ROOT).as_posix()
        count = len(path.read_text().splitlines())
        by_folder = any(f"/{folder}/" in place for folder in FOUND)
        if count >= SMALL or path.stem.startswith("__") or by_folder:
            continue
        first = path.read_text().split("\n", 1)[0]
        if len(importers(name)) < 2 and "(" not in first:
            found[place] = count
    return found


def main() -> int:
    sys.setrecursionlimit(10_000)
    chain, small = longest_chain("tiebreak_analysis.tables"), unexplained()
    count, number, circles = lines(), len(files()), cycles(graph())
    print(f"lines of Python in src and analysis  {count:>7,}  (at most {MOST_LINES:,})")
    print(f"files                                {number:>7,}  (at most {MOST_FILES})")
    print(f"import cycles                        {len(circles):>7,}  (none)")
    print(f"storeys of analysis/tables           {len(chain):>7,}  (at most {MOST_CHAIN})")
    print(f"small files without a reason         {len(small):>7,}  (none)")
    for name, size in sorted(small.items()):
        print(f"  {name} {size}")
    for group in circles:
        print(f"  cycle: {' '.join(group)}")
    print(f"  {' -> '.join(name.rpartition('.')[2] for name in chain)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
