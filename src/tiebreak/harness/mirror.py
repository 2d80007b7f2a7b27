"""A mirror of benchmark data: plain JSONL files become folders that lm-eval's stock tasks read.

`MIRROR/owner/name` is what `datasets.load_dataset` takes in place of the Hub's `owner/name`: a
README.md that names a Parquet file for each configuration and split, and these files. `mirror.json`
says what each was made of; its sha256 are what identifies the data. `benchmark_files.py` has the
forms of the rows, docs/evaluation.md what a file must hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiebreak.data.formats import numbered
from tiebreak.errors import UserError, nearest
from tiebreak.harness.benchmark_files import FORMS, STEMS, Form, Row, subject, text

CONTENTS = "mirror.json"
FORMAT = 1
README = """---
configs:
{configs}
---

{path} for lm-eval's stock tasks, written by `tiebreak mirror make`; see ../../mirror.json.
"""


@dataclass
class _Config:
    """One configuration of a data set: split -> its rows, and the file they are from."""

    form: Form
    rows: dict[str, list[Row]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def shots_from(self) -> str:
        """The split whose rows are the few-shot examples."""
        given = self.form.shots in self.files
        return self.form.shots if given else self.form.evaluated

    @property
    def own_left_out(self) -> bool:
        """Whether no question can be among its own shots."""
        return self.form.own_left_out or self.shots_from != self.form.evaluated


_Configs = dict[tuple[str, str], _Config]


def make(source: Path, target: Path) -> list[str]:
    """Write the mirror of all files of `source` that are benchmarks into the folder `target`; the
    same files give the same bytes. Returns what is to be said, in lines. Raises UserError with
    file:line before anything is written."""
    notes: list[str] = []
    configs = _read(source, notes)
    files: dict[str, bytes] = {}
    datasets: dict[str, dict[str, Any]] = {}
    for (path, name), config in sorted(configs.items()):
        datasets.setdefault(path, {})[name] = _entry(path, name, config, files)
    for path, entries in datasets.items():
        files[f"{path}/README.md"] = _readme(path, entries).encode()
    whole = json.dumps({"format": FORMAT, "datasets": datasets}, indent=1, sort_keys=True) + "\n"
    try:
        _write(target, files, whole)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror}); give a folder that can be, with room"
        ) from error
    said = [line for path in datasets for line in _described(path, configs)]
    return [*said, *notes, f"mirror: {target}"]


def contents(mirror: Path) -> dict[str, dict[str, Any]]:
    """What `mirror.json` says: data set -> configuration -> its entry (docs/evaluation.md). Raises
    UserError for a folder that is no mirror, or one of another format."""
    path = mirror / CONTENTS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        number, datasets = found["format"], found["datasets"]
    except FileNotFoundError as error:
        raise UserError(
            f"{mirror}: no mirror, or one half made, without {CONTENTS}; make it with: tiebreak "
            "mirror make --from FOLDER --to FOLDER"
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error!r}); make the mirror again") from error
    if number != FORMAT:
        raise UserError(f"{path}: format {number!r}, not {FORMAT}; make the mirror again")
    return datasets


def _read(source: Path, notes: list[str]) -> _Configs:
    """Every configuration whose evaluated rows are there."""
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; give --from a folder of JSONL files")
    paths = {path.stem: path for path in sorted(source.glob("*.jsonl"))}
    joined = {form.joined for form in FORMS.values() if form.joined} & paths.keys()
    configs: _Configs = {}
    for stem, path in paths.items():
        if stem in STEMS:
            joined -= {FORMS[STEMS[stem][0]].joined}
            _read_file(path, paths, configs, notes)
        elif stem not in joined and not any(form.joined == stem for form in FORMS.values()):
            notes.append(f"passed over: {path}: no benchmark of this name{nearest(stem, STEMS)}")
    if joined:
        raise UserError(f"{paths[joined.pop()]}: there is no file that it goes with; see "
                        "docs/evaluation.md")  # fmt: skip
    if not configs:
        raise UserError(f"{source}: no file of a benchmark; there could be {_names()}")
    for (path, name), config in configs.items():
        if config.form.evaluated not in config.rows:
            file = next(iter(config.files.values()))
            raise UserError(
                f"{source / file}: {path} ({name}) has no rows to evaluate, which would be of its "
                f"split {config.form.evaluated}; put their file beside it, or take this one away"
            )
    return configs


def _names() -> str:
    return ", ".join(f"{stem}.jsonl" for stem in STEMS)


def _read_file(path: Path, paths: Mapping[str, Path], configs: _Configs, notes: list[str]) -> None:
    """The rows of one file, put into the configurations they are of."""
    benchmark, split = STEMS[path.stem]
    form, cut = FORMS[benchmark], []
    rows = numbered(path, str(path))
    for number, plain in _with_joined(rows, path, form, paths) if form.joined else rows:
        try:
            name = subject(plain) if form.config is None else form.config
            config = configs.setdefault((form.path, name), _Config(form))
            config.files.setdefault(split, path.name)
            config.rows.setdefault(split, []).append(form.row(plain))
        except UserError as error:
            raise UserError(f"{path}:{number}: {error}") from error
        if form.cut and form.cut(plain):
            cut.append(number)
    if not any(path.name in config.files.values() for config in configs.values()):
        raise UserError(f"{path}: no rows; give a file that has some, or take it away")
    if cut:
        notes.append(
            f"note: {path}: lm-eval's task cuts [brackets] and white space at the ends out of "
            f"{len(cut)} rows, the first in line {cut[0]}"
        )


def _with_joined(
    rows: Iterable[tuple[int, Row]], path: Path, form: Form, paths: Mapping[str, Path]
) -> Iterator[tuple[int, Row]]:
    """Each row with what the second file has under its question."""
    assert form.joined
    if form.joined not in paths:
        raise UserError(f"{path}: {form.joined}.jsonl is missing beside it, which has 'question', "
                        "'correct' and 'incorrect'")  # fmt: skip
    second, found = paths[form.joined], dict[str, Row]()
    for number, row in numbered(second, str(second)):
        try:
            if found.setdefault(text(row, "question"), row) is not row:
                raise UserError("'question' stands twice; keep one")
        except UserError as error:
            raise UserError(f"{second}:{number}: {error}") from error
    for number, row in rows:
        asked = row.get("query")
        if isinstance(asked, str) and asked not in found:
            raise UserError(f"{path}:{number}: {second.name} has no such question")
        yield number, {**found.get(str(asked), {}), **row}


def _entry(path: str, name: str, config: _Config, files: dict[str, bytes]) -> dict[str, Any]:
    """What mirror.json says of a configuration; its Parquet files are added to `files`."""
    form = config.form
    rows, made_of = dict(config.rows), dict(config.files)
    rows.setdefault(form.shots, rows[form.evaluated])
    made_of.setdefault(form.shots, made_of[form.evaluated])
    splits, whole = {}, hashlib.sha256()
    for split in sorted(rows):
        whole.update(f"{split}:{len(rows[split])}\n".encode())
        for row in rows[split]:
            whole.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode() + b"\n")
        file = f"{name}/{split}.parquet"
        files[f"{path}/{file}"] = content = _parquet(rows[split], form.columns)
        splits[split] = {
            "file": file,
            "made of": made_of[split],
            "rows": len(rows[split]),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    return {
        "sha256": whole.hexdigest(),
        "evaluated": form.evaluated,
        "shots from": config.shots_from,
        "own question left out of shots": config.own_left_out,
        "splits": splits,
    }


def _parquet(rows: list[Row], columns: Mapping[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def kind(of: Any) -> pa.DataType:
        if isinstance(of, Mapping):
            return pa.struct([(name, kind(one)) for name, one in of.items()])
        return pa.list_(kind(of[0])) if isinstance(of, list) else pa.type_for_alias(of)

    schema = pa.schema([(name, kind(of)) for name, of in columns.items()])
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema), buffer)
    return buffer.getvalue().to_pybytes()


def _readme(path: str, entries: Mapping[str, Any]) -> str:
    lines = []
    for name, entry in entries.items():
        lines += [f'- config_name: "{name}"', "  data_files:"]
        for split, about in entry["splits"].items():
            lines += [f'  - split: "{split}"', f'    path: "{about["file"]}"']
    return README.format(configs="\n".join(lines), path=path)


def _write(target: Path, files: Mapping[str, bytes], whole: str) -> None:
    """mirror.json is there only while it tells the truth. A file that is as it should be is not
    written again: `datasets` knows by its time that what it has cached still holds."""
    target.mkdir(parents=True, exist_ok=True)
    for path in set(_written_before(target)) - files.keys():
        (target / path).unlink(missing_ok=True)
    (target / CONTENTS).unlink(missing_ok=True)
    for name, content in files.items():
        path = target / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    (target / CONTENTS).write_text(whole, encoding="utf-8")


def _written_before(target: Path) -> Iterator[str]:
    """The files of the mirror that is there, which it need not be."""
    known = {form.path for form in FORMS.values()}
    for path, entries in contents(target).items() if (target / CONTENTS).is_file() else ():
        if path in known:
            yield f"{path}/README.md"
            yield from (f"{path}/{about['file']}" for one in entries.values()
                        for about in one["splits"].values()
                        if not {"..", ""} & set(about["file"].split("/")))  # fmt: skip


def _described(path: str, configs: _Configs) -> Iterator[str]:
    """Lines on one data set: its rows, and where its shots are from when that needs saying."""
    its = {name: one for (of, name), one in sorted(configs.items()) if of == path}
    groups: dict[tuple[int, bool], list[str]] = {}
    for name, one in its.items():
        groups.setdefault((one.form.shots in one.files, one.own_left_out), []).append(name)
    for (given, left_out), names in groups.items():
        ones = [its[name] for name in names]
        form, counts = ones[0].form, dict[str, int]()
        for one in ones:
            for split, rows in one.rows.items():
                counts[split] = counts.get(split, 0) + len(rows)
        called = ", ".join(names) if len(names) < 4 else f"{len(names)} configurations"
        rows = ", ".join(f"{split} {count}" for split, count in counts.items())
        yield f"{path} ({called}): {rows}"
        if given:
            continue
        yield f"  shots from: {form.evaluated}, for there are no {form.shots} rows; " + (
            "lm-eval leaves a question out of its own shots"
            if left_out
            else "a question can be among its own shots: evaluate with 0 shots"
        )
