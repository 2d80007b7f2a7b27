"""Files of rows, found, opened and numbered. A source is a file (JSONL, JSON, CSV or Parquet, each
plain, .gz or .zst), a pattern of such files, or a folder that `datasets` saved. A row's number,
counted from 1, is its line in JSONL and CSV and its place among the rows elsewhere."""

from __future__ import annotations

import csv
import glob
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, NoReturn

from tiebreak.errors import UserError, nearest

Row = dict[str, Any]
Numbered = Iterator[tuple[int, Row]]
PACKED = (".gz", ".zst")
KNOWN = ".jsonl, .json, .csv or .parquet, each also .gz or .zst"
MOST_DIGITS = 300  # of a whole number; more is no number that a float could hold


def kind_of(name: str | Path) -> str | None:
    """ ".jsonl", ".json", ".csv" or ".parquet" by a file's name, packed or not; else None."""
    path = PurePath(name)
    last = path.suffix.lower()
    last = PurePath(path.stem).suffix.lower() if last in PACKED else last
    return last if last in _READERS else None


def called(source: str) -> str:
    """What a source is called: a file's name without its suffixes, of a pattern what stands before
    its first sign; of a folder or a Hub id the last part."""
    name, kind = Path(source).name, kind_of(source)  # Qwen2.5-0.5B has no suffix
    if kind is None:
        return name
    name = name[: name.lower().rindex(kind)]
    if Path(source).exists() and name != "???":  # which is how OmegaConf writes no value
        return name
    return re.sub(r"\W*[*?\[].*", "", name) or Path(source).parent.name or "rows"


def is_saved(folder: Path) -> bool:
    """Whether `datasets` saved this folder (save_to_disk)."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def files_of(source: str | Path, split: str) -> list[Path]:
    """The files of a source in order; split: of a saved folder of several. UserError for none."""
    path = Path(source)
    if path.is_dir() and is_saved(path):
        return _saved(path, split)
    found = (
        [path]
        if path.is_file()
        else sorted(Path(name) for name in glob.glob(str(source), recursive=True))
    )
    if not found or found == [path] and not path.is_file():
        raise UserError(_missing(path))
    for file in found:
        if kind_of(file) is None or not file.is_file():
            what = f"a file of unknown kind ({file.suffix!r})" if file.is_file() else "a folder"
            raise UserError(f"{file}: {what}; give {KNOWN}")
    return found


def _saved(folder: Path, split: str) -> list[Path]:
    about = "state.json"
    try:
        if (folder / "dataset_dict.json").is_file():
            about = "dataset_dict.json"
            splits = json.loads((folder / about).read_text(encoding="utf-8"))["splits"]
            if split not in splits:
                raise UserError(no_split(str(folder), split, splits))
            folder, about = folder / split, "state.json"
        state = json.loads((folder / about).read_text(encoding="utf-8"))
        files = [folder / PurePath(one["filename"]).name for one in state["_data_files"]]
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{folder / about}: not as datasets writes it ({type(error).__name__}: {error}); save "
            "the data set again with save_to_disk"
        ) from error
    if missing := [file.name for file in files if not file.is_file()]:
        raise UserError(f"{folder}: {missing[0]} is missing; save the data set again")
    return files


def no_split(name: str, split: str, splits: Iterable[str]) -> str:
    splits = list(splits)
    return (
        f"{name}: no split {split!r}{nearest(split, splits)}; it has {', '.join(splits)}; name one "
        "in data.train_split, data.test_split or data.demonstrations_split, or for "
        "evaluation.pair_sets as NAME:SPLIT"
    )


def _missing(path: Path) -> str:
    if path.is_dir():
        names = sorted(p.name for p in path.iterdir() if kind_of(p))
        if not names:
            return f"{path}: a folder that holds no {KNOWN}; name a file, or a Hub id org/name"
        pattern = path / f"*{''.join(PurePath(names[0]).suffixes[-2:])}"
        return (
            f"{path}: a folder, not a file; name the file (it holds {', '.join(names[:5])}), or "
            f"all of one kind: {pattern}"
        )
    if glob.has_magic(str(path)):
        return f"{path}: no file fits this pattern; check it"
    if not path.parent.is_dir():
        return f"{path}: no such file (the folder {path.parent} does not exist); check the path"
    hint = nearest(path.name, sorted(p.name for p in path.parent.iterdir()))
    return f"{path}: no such file{hint}; give {KNOWN}, or a Hub id org/name"


def numbered(path: Path, name: str) -> Numbered:
    """(number, row) of a file; name: what errors call it. UserError with the place."""
    import pyarrow as pa

    read = _READERS[kind_of(path) or ""]
    try:
        with opened(path) as file:
            yield from read(file, name)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, pa.ArrowException) as error:
        raise UserError(f"{name}: cannot be read ({error}); write or download it again") from error


def opened(path: Path) -> io.BufferedReader:
    """The file's bytes, unpacked."""
    packed = path.suffix.lower()
    if packed == ".gz":
        return io.BufferedReader(gzip.open(path))
    if packed == ".zst":
        import pyarrow as pa

        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def size_of(path: Path) -> tuple[int, int]:
    """(rows, bytes of text) of a file."""
    if kind_of(path) == ".jsonl":
        with opened(path) as file:
            blocks = [(b.count(b"\n"), len(b)) for b in iter(lambda: file.read(1 << 20), b"")]
        return sum(rows for rows, _ in blocks), sum(size for _, size in blocks)
    if kind_of(path) == ".parquet" and path.suffix.lower() not in PACKED:
        from pyarrow import parquet

        about: Any = parquet.ParquetFile(path).metadata
        groups = [about.row_group(i).total_byte_size for i in range(about.num_row_groups)]
        return about.num_rows, sum(groups)
    return sum(1 for _ in numbered(path, str(path))), path.stat().st_size


def _jsonl(file: io.BufferedReader, name: str) -> Numbered:
    for number, line in enumerate(file, start=1):
        if line.strip():
            place = f"{name}:{number}"
            text = _text(line, place, number == 1)
            with _json_errors(place, "JSONL wants one object per line"):
                row = _DECODER.decode(text)
            yield number, _object(row, place, "JSONL wants one object per line")


def _json(file: io.BufferedReader, name: str) -> Numbered:
    """An array of objects; or, as many data sets have it, JSONL under this name."""
    content = file.read()
    if not content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        yield from _jsonl(io.BufferedReader(io.BytesIO(content)), name)
        return
    text = _text(content, name, True)
    wanted = "a .json file holds one array of objects, or one object per line"
    at = _after_space(text, _after_space(text, 0) + 1)
    number, ended = 0, text[at : at + 1] == "]"
    at += ended
    while not ended:
        number += 1
        place = f"{name}:{number}"
        with _json_errors(place, wanted):
            row, at = _DECODER.raw_decode(text, _after_space(text, at))
            at = _after_space(text, at)
            if text[at : at + 1] not in (",", "]"):
                raise json.JSONDecodeError("no comma and no end of the array", text, at)
        yield number, _object(row, place, wanted)
        ended, at = text[at] == "]", at + 1
    if text[at:].strip():
        raise UserError(f"{name}: text follows the array; {wanted}")


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _text(content: bytes, place: str, first: bool) -> str:
    try:
        return content.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 ({error}); re-encode it") from error


@contextmanager
def _json_errors(place: str, wanted: str) -> Generator[None]:
    """Turns what the JSON reader raises into a UserError with the place."""
    try:
        yield
    except _Unfit as error:
        raise UserError(f"{place}: {error}") from error
    except RecursionError as error:
        raise UserError(f"{place}: nested too deeply to be read; flatten it") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: not JSON ({error}); {wanted}") from error


def _object(row: object, place: str, wanted: str) -> Row:
    if not isinstance(row, dict):
        raise UserError(f"{place}: a {type(row).__name__}, not an object; {wanted}")
    return row


class _Unfit(ValueError):
    """Valid to Python's reader, or nearly, and yet no data."""


def _once(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Unfit(twice(names))
    return row


def twice(names: list[str]) -> str:
    """What to say of the first name that stands twice."""
    name = next(name for name in names if names.count(name) > 1)
    return f"the name {name!r} stands twice; keep one of the two"


def _constant(name: str) -> NoReturn:
    raise _Unfit(f"{name} is no JSON value; write null or a finite number")


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise _Unfit(f"a whole number of {len(digits)} digits; write it as text, or shorter")
    return int(digits)


_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_constant, parse_int=_whole)


def parse_json(text: str) -> Any:
    """A value that stands as JSON in a text column; ValueError when it is none."""
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _csv(file: io.BufferedReader, name: str) -> Numbered:
    csv.field_size_limit(sys.maxsize)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    number, header = 1, None
    try:
        while (cells := next(reader, None)) is not None:
            if header is None:
                header = cells
                if len(set(header)) < len(header):
                    raise UserError(f"{name}:{number}: {twice(header)}")
            elif len(cells) == len(header):
                yield number, dict(zip(header, cells, strict=True))
            elif cells:
                raise UserError(
                    f"{name}:{number}: {len(cells)} cells under {len(header)} names; quote cells "
                    "that hold commas or new lines"
                )
            number = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{name}:{number}: not CSV ({error}); quote cells that hold commas, quotes or new lines"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name}:{number} or after: not UTF-8 ({error}); re-encode it") from error
    finally:
        text.detach()


def _parquet(file: io.BufferedReader, name: str) -> Numbered:
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = isinstance(file.raw, io.FileIO)
    try:
        table: Any = pq.ParquetFile(file if plain else pa.BufferReader(file.read()))
    except pa.ArrowException as error:
        raise UserError(f"{name}: not a readable Parquet file ({error}); write it again") from error
    yield from table_rows(table.schema_arrow, table.iter_batches(batch_size=1024), name)


def _arrow(file: io.BufferedReader, name: str) -> Numbered:
    import pyarrow as pa

    stream = pa.ipc.open_stream(file)
    yield from table_rows(stream.schema, stream, name)


def table_rows(schema: Any, batches: Iterable[Any], name: str) -> Numbered:
    """The rows of an Arrow table, without what is null only because another row has the field."""
    _check_names(schema, name)
    number = 0
    for batch in batches:
        try:
            rows = batch.to_pylist()
        except (ValueError, OverflowError) as error:
            raise UserError(
                f"{name}: a value of rows {number + 1} to {number + batch.num_rows} cannot be read "
                f"({error}); leave its column out"
            ) from error
        for row in rows:
            number += 1
            yield number, {name: without_nulls(value) for name, value in row.items()}


def _check_names(fields: Any, name: str) -> None:
    """Raise UserError for a name that stands twice in a table or in a struct of it."""
    import pyarrow as pa

    names = [field.name for field in fields]
    if len(set(names)) < len(names):
        raise UserError(f"{name}:1: {twice(names)}")
    for field in fields:
        kind = field.type
        while pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind = kind.value_type
        if pa.types.is_struct(kind):
            _check_names([kind.field(i) for i in range(kind.num_fields)], name)


def without_nulls(value: Any) -> Any:
    """A value of a table without the null fields of its structs; a null `content` stays."""
    if isinstance(value, dict):
        return {
            key: without_nulls(one)
            for key, one in value.items()
            if one is not None or key == "content"
        }
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


_READERS: dict[str, Callable[[io.BufferedReader, str], Numbered]] = {
    ".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet, ".arrow": _arrow,
}  # fmt: skip
