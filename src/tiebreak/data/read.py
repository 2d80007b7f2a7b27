"""Read preferences and demonstrations from JSONL, Parquet or the Hub into `Example`s.

A row is understood from its fields alone (docs/data.md lists the forms); nothing is guessed from
names of files or data sets, and every error says where: `file.jsonl:12` is line 12,
`file.parquet:12` and `org/name/train:12` are row 12, counted from 1.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiebreak.data import forms
from tiebreak.data.examples import Example
from tiebreak.errors import UserError, nearest

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".parquet")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def read_preferences(
    source: str | Path, split: str = "train", revision: str | None = None
) -> list[Example]:
    """Pairs (prompt, chosen, rejected), ranked lists (prompt, responses, scores) or single
    labelled answers (prompt, completion, label).

    source: a .jsonl or .parquet file, or a Hub id; split and revision select within a Hub data
    set (a file is one split). Raises UserError naming the place, what was found and the remedy.
    """
    examples: list[Example] = []
    for where, number, row in _rows(source, split, revision):
        example = forms.preference(row, where, _id(row, number, where))
        if examples and forms.kind(example) != forms.kind(examples[0]):
            raise UserError(
                f"{where}: {forms.kind(example)}, but {examples[0].where} is "
                f"{forms.kind(examples[0])}; keep the two kinds in separate files"
            )
        examples.append(example)
    return _unique_ids(examples)


def read_demonstrations(
    source: str | Path, split: str = "train", revision: str | None = None
) -> list[Example]:
    """Conversations to imitate: `messages`, or `prompt` with `completion` or `response`.

    responses is (answer,): the last assistant turn; the turns before it are the prompt.
    """
    rows = _rows(source, split, revision)
    return _unique_ids(
        [forms.demonstration(row, where, _id(row, number, where)) for where, number, row in rows]
    )


def fingerprint(source: str | Path, split: str = "train", revision: str | None = None) -> str:
    """What identifies the data: sha256 of the file, or `hub:<id>@<commit>:<split>`."""
    if is_hub(source):
        from tiebreak.data import hub

        return f"hub:{source}@{hub.resolve_commit(str(source), revision)}:{split}"
    path = _file(source, revision)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_hub(source: str | Path) -> bool:
    """`org/name` that is no file here and carries no suffix of a data file."""
    text = str(source)
    if isinstance(source, Path) or Path(text).exists() or Path(text).suffix in SUFFIXES:
        return False
    return _HUB_ID.fullmatch(text) is not None


def _rows(source: str | Path, split: str, revision: str | None) -> Iterator[tuple[str, int, Row]]:
    """(where, number counted from 1, row without its null fields)."""
    if is_hub(source):
        from tiebreak.data import hub

        name, numbered = f"{source}/{split}", hub.load_rows(str(source), split, revision)
    else:
        path = _file(source, revision)
        name = str(source)
        numbered = _jsonl(path, name) if path.suffix == ".jsonl" else _parquet(path, name)
    empty = True
    for number, row in numbered:
        empty = False
        yield f"{name}:{number}", number, {k: v for k, v in row.items() if v is not None}
    if empty:
        raise UserError(f"{name}: no rows; point the data config at a file or split that has some")


def _file(source: str | Path, revision: str | None) -> Path:
    path = Path(source)
    if not path.is_file():
        raise UserError(_missing(path))
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: unknown kind of file {path.suffix!r}; use .jsonl or .parquet")
    if revision is not None:
        raise UserError(
            f"data.revision={revision!r} has no meaning for the file {path}; "
            "leave it out (files are identified by their content)"
        )
    return path


def _missing(path: Path) -> str:
    if path.is_dir():
        names = sorted(p.name for p in path.iterdir() if p.suffix in SUFFIXES)
        found = f"it holds {', '.join(names[:5])}" if names else "it holds no .jsonl or .parquet"
        return f"{path}: a folder, not a file; name the file ({found})"
    if not path.parent.is_dir():
        return f"{path}: no such file (the folder {path.parent} does not exist); check the path"
    hint = nearest(path.name, sorted(p.name for p in path.parent.iterdir()))
    return f"{path}: no such file{hint}; give a .jsonl or .parquet file, or a Hub id org/name"


def _jsonl(path: Path, name: str) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                raise UserError(f"{name}:{number}: not UTF-8 ({error}); re-encode it") from error
            except (json.JSONDecodeError, RecursionError) as error:
                raise UserError(
                    f"{name}:{number}: not JSON ({error}); JSONL wants one object per line"
                ) from error
            if not isinstance(row, dict):
                raise UserError(
                    f"{name}:{number}: a {type(row).__name__}, not an object; "
                    "JSONL wants one object per line"
                )
            yield number, row


def _parquet(path: Path, name: str) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pa.ArrowException as error:
        raise UserError(f"{name}: not a readable Parquet file ({error}); write it again") from error


def _id(row: Row, number: int, where: str) -> str:
    value = row.get("id", number)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise UserError(f"{where}: 'id' is a {type(value).__name__}; give text or a whole number")
    return str(value)


def _unique_ids(examples: list[Example]) -> list[Example]:
    """Ids name rows in the record, so a repeated `x` becomes `x`, `x#2`, `x#3` in file order."""
    taken = {example.id for example in examples}
    seen: Counter[str] = Counter()
    unique: list[Example] = []
    for example in examples:
        seen[example.id] += 1
        if seen[example.id] == 1:
            unique.append(example)
            continue
        while (new := f"{example.id}#{seen[example.id]}") in taken:
            seen[example.id] += 1
        taken.add(new)
        unique.append(replace(example, id=new))
    return unique
