"""Read preferences and demonstrations from files or the Hub into `Example`s. A row is understood
from its fields alone (docs/data.md lists the forms); nothing is guessed from names of files or data
sets, and every error says where: `file.jsonl:12` is line 12, `file.parquet:12` and
`org/name/train:12` are row 12, counted from 1."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tiebreak.data import formats, forms
from tiebreak.data.examples import Example
from tiebreak.data.formats import Numbered, Row
from tiebreak.errors import UserError, nearest

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Fields and texts that version 0.1.0 read in another way, in the two formats it read.
_FIELDS = (
    *forms.SYSTEM, *forms.TOOLS, *forms.BESIDE, "tool_calls", "function_call", "reasoning_content",
    "reasoning", "thinking",
)  # fmt: skip
_SIGNS = tuple(  # (what a line must hold, the pattern that is then looked for)
    (sign, re.compile(pattern))
    for sign, pattern in (
        (b'"system', rb'(?<!\\)"system(_prompt|_message)?"\s*:'),
        (b'"tool', rb'(?<!\\)"tool(s|_calls)"\s*:'),
        (b'"function', rb'(?<!\\)"function(s|_call)"\s*:'),
        (b'"reasoning', rb'(?<!\\)"reasoning(_content)?"\s*:'),
        *(
            (b'"%s"' % name, rb'(?<!\\)"%s"\s*:' % name)
            for name in (b"history", b"documents", b"chat_template_kwargs", b"thinking")
        ),
        (b'{\\"', rb':\s*"\s*\[?\s*\{\s*\\"(role|content|from|value)\\"\s*:'),
        (b'"name"', rb'(?<!\\)"name"\s*:\s*"(?:[^"\\]|\\.)*"\s*,\s*"(role|content)"\s*:'),
        (b'"name"', rb'(?<!\\)"(role|content)"\s*:\s*"(?:[^"\\]|\\.)*"\s*,\s*"name"\s*:'),
    )
)
_MESSAGES = re.compile(r'\s*\[?\s*\{\s*"(role|content|from|value)"\s*:')


def read_preferences(
    source: str | Path, split: str = "train", revision: str | None = None,
    subset: str | None = None, columns: Mapping[str, str] = MappingProxyType({}),
) -> list[Example]:  # fmt: skip
    """Pairs, ranked lists or single labelled answers. source: a file, a pattern of files, a folder
    of `datasets`, or a Hub id; split, revision and subset (its configuration) select within a Hub
    data set, split in a saved folder too. columns: names of the data -> ours. Raises UserError
    naming the place, what was found and the remedy."""
    examples: list[Example] = []
    for example in _examples(forms.preference, source, split, revision, subset, columns):
        if examples and _kind(example) != _kind(examples[0]):
            raise UserError(
                f"{example.where}: {_kind(example)}, but {examples[0].where} is "
                f"{_kind(examples[0])}; keep the two kinds in separate files"
            )
        examples.append(example)
    return _unique_ids(examples)


def read_demonstrations(
    source: str | Path, split: str = "train", revision: str | None = None,
    subset: str | None = None, columns: Mapping[str, str] = MappingProxyType({}),
) -> list[Example]:  # fmt: skip
    """Conversations to imitate. responses is (answer,): the last assistant turn; the turns before
    it are the prompt."""
    found = _examples(forms.demonstration, source, split, revision, subset, columns)
    return _unique_ids(list(found))


def fingerprint(
    source: str | Path,
    split: str = "train",
    revision: str | None = None,
    subset: str | None = None,
) -> str:
    """What identifies the data: sha256 of a file (of several: of their hashes), with ":2" where
    0.1.0 read it in another way; or `hub:<id>@<commit>:<split>`, the subset before the split."""
    if is_hub(source):
        from tiebreak.data import hub

        where = f"{subset}:{split}" if subset else split
        return f"hub:{source}@{hub.resolve_commit(str(source), revision)}:{where}"
    hashes = []
    for path in _files(source, split, revision, subset):
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        hashes.append(f"{found}:2" if _is_read_anew(path) else found)
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def is_hub(source: str | Path) -> bool:
    """`org/name` that is no file here and carries no suffix of a data file."""
    text = str(source)
    if isinstance(source, Path) or Path(text).exists() or formats.kind_of(text):
        return False
    return _HUB_ID.fullmatch(text) is not None


def _is_read_anew(path: Path) -> bool:
    """Whether 0.1.0 would have read other examples from this file than are read today."""
    if path.suffix == ".jsonl":
        with path.open("rb") as file:
            return any(
                sign in line and pattern.search(line) for line in file for sign, pattern in _SIGNS
            )
    if path.suffix != ".parquet":
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            schema = table.schema_arrow.to_string(show_schema_metadata=False)
            names = set(re.findall(r"[\w-]+", schema))
            first: Any = next(iter(table.iter_batches(batch_size=64)), pa.table({}))
            kinds = pa.string(), pa.large_string()
            texts = [column for column in first.columns if column.type in kinds]
            as_before = names.isdisjoint(_FIELDS) and not re.search(r"struct<[^<>]*\bname:", schema)
            return not as_before or any(
                _MESSAGES.match(text or "") for c in texts for text in c.to_pylist()
            )
    except (OSError, ValueError, pa.ArrowException):
        return False  # reading it names the file


def _examples(
    parse: Callable[[Row, str], Example], source: str | Path, split: str, revision: str | None,
    subset: str | None, columns: Mapping[str, str],
) -> Iterator[Example]:  # fmt: skip
    """Each row as `parse` makes it of its fields and its id."""
    unseen = dict(columns)
    empty = True
    for name, number, place, given in _rows(source, split, revision, subset):
        empty, where = False, f"{name}:{place}"
        try:
            row = _renamed(given, columns) if columns else given
            example = parse(row, _id(row, number))
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        for key in [key for key in unseen if key in given]:
            del unseen[key]
        yield replace(example, where=where)
    if empty:
        raise UserError(
            f"{source}: no rows; point the data config at a file or split that has some"
        )
    for key in unseen:
        hint = nearest(key, given)
        raise UserError(
            f"data.columns={{{key}: {unseen[key]}}}: {source} has no column {key!r}{hint}; it has "
            f"{', '.join(given)}"
        )


def _rows(
    source: str | Path, split: str, revision: str | None, subset: str | None
) -> Iterator[tuple[str, int, int, Row]]:
    """(file, number of the row for its id, its place in the file, the row)."""
    numbered: Numbered
    if is_hub(source):
        from tiebreak.data import hub

        name, numbered = hub.load_rows(str(source), split, revision, subset)
        yield from ((name, number, number, row) for number, row in numbered)
        return
    files = _files(source, split, revision, subset)
    before = number = 0
    for path in files:
        name = str(source) if len(files) == 1 and path == Path(source) else str(path)
        for place, row in formats.numbered(path, name):
            number = before + place
            yield name, number, place, row
        before = number


def _files(source: str | Path, split: str, revision: str | None, subset: str | None) -> list[Path]:
    files = formats.files_of(source, split)
    for key, value in (("revision", revision), ("subset or data.demonstrations_subset", subset)):
        if value is not None:
            raise UserError(
                f"data.{key}={value!r} has no meaning for the file {source}; leave it out (files "
                "are identified by their content)"
            )
    return files


def _renamed(row: Row, columns: Mapping[str, str]) -> Row:
    """The row under our names. Where pairs are turned round, their scores go: they are of the pairs
    as they stood."""
    there = {name: value for name, value in row.items() if value is not None}
    if (columns.get("chosen"), columns.get("rejected")) == ("rejected", "chosen"):
        there = {name: value for name, value in there.items() if not forms.GOOD.search(name)}
    names = [columns.get(name, name) for name in there]
    if len(set(names)) < len(names):
        raise UserError(f"after data.columns, {formats.twice(names)}, by mapping the other as well")
    return dict(zip(names, there.values(), strict=True))


def _id(row: Row, number: int) -> str:
    value = row.get("id")
    if value is None or value == "":
        value = number
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise UserError(f"'id' is a {type(value).__name__}; give text or a whole number")
    return str(value)


def _kind(example: Example) -> str:
    """How to name this row in an error."""
    if example.scores is not None:
        return f"a list of {len(example.responses)}"
    return "a pair" if len(example.responses) == 2 else "a single labelled answer"


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
