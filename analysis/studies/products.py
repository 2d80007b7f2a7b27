"""What a study wrote, and what it was made from: nothing is made again from the same things.

A product is files of the study's folder that are made together: a table in its five formats, the
effects, the figures, the page. `products.json` holds, per product, a key and the sha256 of each of
its files. The key is a hash over the code that makes products, the versions of the libraries that
do, the command, the runs the sweeps ask for and the files of their records (by size and time of the
last change). A product whose key is another one, or of which a file was edited or is gone, is made
again.

To compare keys no record is parsed, and neither pandas nor a drawing library is imported.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tiebreak
import tiebreak_analysis

FORMAT = 1
MANIFEST = "products.json"
LIBRARIES = ("matplotlib", "numpy", "pandas", "plotly", "pyarrow", "scipy")
CODE = ("metrics.py", "methods", "catalogue.py", "cli", "track/record_format.py")
"""Below tiebreak: what products are made from; below tiebreak_analysis it is everything."""


@dataclass
class Products:
    """The products of one study in one folder."""

    folder: Path
    keys: Mapping[str, str]
    """Product -> the key that it would be made with now."""
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Product -> `key` and `files` (name -> sha256) of when it was made."""

    @classmethod
    def of(cls, folder: Path, keys: Mapping[str, str]) -> Products:
        """The products that `folder` has; none if its manifest is missing, damaged or foreign."""
        try:
            content = json.loads((folder / MANIFEST).read_text())
            known = content["products"] if content["format"] == FORMAT else {}
            whole = {name for name, one in known.items() if {"key", "files"} <= one.keys()}
            made = {name: known[name] for name in keys if name in whole}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            made = {}
        return cls(folder, keys, made)

    def stale(self) -> frozenset[str]:
        """Products that have to be made."""
        return frozenset(
            name
            for name, key in self.keys.items()
            if (made := self.made.get(name)) is None
            or made["key"] != key
            or any(_digest(self.folder / file) != known for file, known in made["files"].items())
        )

    def files(self, products: Iterable[str]) -> list[str]:
        """Names of the files of these products, in the order they were made."""
        return [file for name in products for file in self.made.get(name, {}).get("files", ())]

    def record(self, written: Mapping[str, Sequence[Path]]) -> None:
        """Note that these products were made, of these files, and write the manifest."""
        for name, paths in written.items():
            files = {path.name: _digest(path) for path in paths}
            self.made[name] = {"key": self.keys[name], "files": files}
        products = {name: self.made[name] for name in self.keys if name in self.made}
        content = {"format": FORMAT, "products": products}
        temporary = self.folder / f".{MANIFEST}.tmp"
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, self.folder / MANIFEST)


def key(facts: object, runs_dir: Path, run_ids: Iterable[str]) -> str:
    """The key of a product made from `facts` (what JSON can hold) and the records of these runs."""
    records = {run_id: sorted(_stamps(f"{runs_dir}/{run_id}")) for run_id in set(run_ids)}
    return sha256(json.dumps([facts, records], sort_keys=True).encode()).hexdigest()


def code_and_versions() -> dict[str, str]:
    """What makes the same records the same bytes: a hash over the code, and the versions."""
    versions = {name: version(name) for name in LIBRARIES}
    return {"code": _code(), "python": platform.python_version(), **versions}


def _code() -> str:
    hashed = sha256()
    ours = Path(str(tiebreak.__file__)).parent
    for top in (Path(str(tiebreak_analysis.__file__)).parent, *(ours / name for name in CODE)):
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and path.suffix != ".pyc":
                name = path.relative_to(top.parent).as_posix()
                hashed.update(f"{name} {sha256(path.read_bytes()).hexdigest()}\n".encode())
    return hashed.hexdigest()


def _stamps(folder: str, inside: str = "") -> Iterator[tuple[str, int, int]]:
    """Path, size and time of the last change (ns) of each file of a record; none: no record."""
    try:
        with os.scandir(folder) as found:
            entries = [one for one in found if not one.name.startswith(".")]
    except OSError:
        return
    for one in entries:
        if one.is_dir():
            yield from _stamps(one.path, f"{inside}{one.name}/")
        else:
            stat = one.stat()
            yield f"{inside}{one.name}", stat.st_size, stat.st_mtime_ns


def _digest(path: Path) -> str | None:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
