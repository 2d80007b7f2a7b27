"""Files of every kind, packed or not, several at once, saved folders; and what none may be."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiebreak.config.compose import configure
from tiebreak.data.formats import size_of
from tiebreak.data.read import fingerprint, is_hub, read_preferences
from tiebreak.errors import UserError

ROWS = [
    {"id": f"r{i}", "prompt": f'Say "{i}",\nplease: é', "chosen": f"yes {i}", "rejected": f"no {i}"}
    for i in range(3)
]
KINDS = ("jsonl", "json", "csv", "parquet")


def written(kind: str, rows: list[dict[str, Any]]) -> bytes:
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == "json":
        return json.dumps(rows, indent=1).encode()
    if kind == "csv":
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
        return text.getvalue().encode("utf-8-sig")
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def packed(content: bytes, how: str) -> bytes:
    if how == ".zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(content)
        return sink.getvalue().to_pybytes()
    return gzip.compress(content) if how else content


@pytest.mark.parametrize("how", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_come_from_every_kind_of_file(tmp_path, kind, how):
    path = tmp_path / f"rows.{kind}{how}"
    path.write_bytes(packed(written(kind, ROWS), how))
    found = read_preferences(path)
    assert [(e.id, e.prompt, *e.responses) for e in found] == [tuple(r.values()) for r in ROWS]
    places = {"csv": ["2", "4", "6"]}.get(kind, ["1", "2", "3"])  # of CSV: the line it begins on
    assert [one.where for one in found] == [f"{path}:{place}" for place in places]
    assert fingerprint(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert size_of(path)[0] == 3 and not is_hub(f"data/rows.{kind}{how}")
    run = configure([f"data={path}", "model=org/name", "scenario=align-from-base"])
    assert (run.data.name, run.data.train) == ("rows", str(path))  # ty: ignore[unresolved-attribute]


def test_a_pattern_reads_its_files_in_order_of_their_names(tmp_path):
    for i, row in enumerate(reversed(ROWS)):
        (tmp_path / f"part-{2 - i}.jsonl").write_bytes(written("jsonl", [row]))
    pattern = str(tmp_path / "part-*.jsonl")
    found = read_preferences(pattern)
    assert [one.id for one in found] == ["r0", "r1", "r2"]
    assert found[1].where == f"{tmp_path}/part-1.jsonl:1"
    hashes = [fingerprint(one.where.removesuffix(":1")) for one in found]
    assert fingerprint(pattern) == hashlib.sha256(" ".join(hashes).encode()).hexdigest()
    assert fingerprint(str(tmp_path / "part-0*")) == hashes[0]
    for name, called in (("part-*", "part"), ("*", tmp_path.name), ("[pq]art-?", tmp_path.name)):
        words = [f"data={tmp_path}/{name}.jsonl", "model=org/name", "scenario=align-from-base"]
        assert configure(words).data.name == called
    with pytest.raises(UserError, match="no file fits this pattern"):
        read_preferences(str(tmp_path / "part-*.csv"))
    (tmp_path / "part-x.txt").touch()
    with pytest.raises(UserError, match=r"part-x.txt: a file of unknown kind \('.txt'\)"):
        read_preferences(str(tmp_path / "part-*"))
    with pytest.raises(UserError, match=r"all of one kind: .*/\*.jsonl"):
        read_preferences(str(tmp_path))


@pytest.mark.parametrize("name", ["???", "[a]", "a*"])
def test_a_file_that_is_called_like_a_pattern_is_that_file(tmp_path, name):
    (tmp_path / "abc.jsonl").write_bytes(written("jsonl", ROWS))
    (tmp_path / f"{name}.jsonl").write_bytes(written("jsonl", ROWS[:2]))
    source = str(tmp_path / f"{name}.jsonl")
    assert [one.where for one in read_preferences(source)] == [f"{source}:1", f"{source}:2"]
    data = configure([f"data={source}", "model=org/name", "scenario=align-from-base"]).data
    assert (data.train, data.name) == (source, tmp_path.name if name == "???" else name)


def test_rows_without_ids_are_numbered_through(tmp_path):
    for name in "ab":
        rows = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in ROWS]
        (tmp_path / f"{name}.jsonl").write_bytes(written("jsonl", rows))
    assert [one.id for one in read_preferences(str(tmp_path / "*.jsonl"))] == list("123456")


def test_a_folder_that_datasets_saved_is_read(tmp_path):
    import datasets

    whole = datasets.Dataset.from_list(ROWS)
    whole.save_to_disk(tmp_path / "one", num_shards=2)
    both = datasets.DatasetDict({"train": whole, "test": whole.select([1])})
    both.save_to_disk(tmp_path / "two")
    one = read_preferences(str(tmp_path / "one"))
    assert [(e.id, e.prompt, *e.responses) for e in one] == [tuple(r.values()) for r in ROWS]
    assert one[2].where == f"{tmp_path}/one/data-00001-of-00002.arrow:1"
    assert [e.id for e in read_preferences(str(tmp_path / "two"), "test")] == ["r1"]
    assert fingerprint(str(tmp_path / "two"), "test") != fingerprint(str(tmp_path / "two"))
    assert configure([f"data={tmp_path}/two", "model=org/name", "scenario=align-from-base"])
    with pytest.raises(UserError, match=r"no split 'tset' \(nearest: 'test'\); it has train, test"):
        read_preferences(str(tmp_path / "two"), "tset")
    (tmp_path / "one" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(UserError, match="one: data-00001-of-00002.arrow is missing"):
        read_preferences(str(tmp_path / "one"))
    (tmp_path / "one" / "state.json").write_text("{}")
    with pytest.raises(UserError, match=r"state.json: not as datasets writes it \(KeyError"):
        read_preferences(str(tmp_path / "one"))


def test_json_lines_may_be_called_json_and_an_array_may_be_empty(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(written("jsonl", ROWS))
    assert len(read_preferences(path)) == 3
    path.write_text(" [ ] \n")
    with pytest.raises(UserError, match="no rows"):
        read_preferences(path)


GOOD = json.dumps(ROWS[0])
BAD = {
    "twice.jsonl": (GOOD + '\n{"prompt": "a", "chosen": "b", "chosen": "c"}', "twice"),
    "nested.jsonl": ('{"prompt": [{"role": "user", "role": "x"}]}', ":1: the name 'role' "),
    "digits.jsonl": ('{"id": %s}' % ("9" * 5000), ":1: a whole number of 5000 digits"),
    "nan.jsonl": ('{"score": NaN}', ":1: NaN is no JSON value"),
    "infinite.json": ('[{"score": -Infinity}]', ":1: -Infinity is no JSON value"),
    "deep.jsonl": ("[" * 100_000, ":1: nested too deeply"),
    "deep.json": ('[{"a": ' + "[" * 100_000, ":1: nested too deeply"),
    "one.json": ('{\n "prompt": "a"\n}', ":1: not JSON"),
    "comma.json": (f"[{GOOD} {GOOD}]", ":1: not JSON (no comma"),
    "trailing.json": (f"[{GOOD},]", ":2: not JSON"),
    "open.json": (f"[{GOOD},", ":2: not JSON"),
    "after.json": (f"[{GOOD}] x", "text follows the array"),
    "texts.json": ('["a"]', ":1: a str, not an object; a .json file"),
    "header.csv": ("prompt,chosen,chosen\na,b,c\n", ":1: the name 'chosen' stands twice"),
    "cells.csv": ("prompt,chosen,rejected\na,b,c\na,b\n", ":3: 2 cells under 3 names"),
    "quote.csv": ('prompt,chosen,rejected\na,"b"x,c\n', ":2: not CSV"),
    "end.csv": ('prompt,chosen,rejected\na,"b,c\n', ":2: not CSV"),
    "empty.csv": ("", "no rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_a_reader_cannot_take_is_refused_with_its_place(tmp_path, name):
    text, message = BAD[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        read_preferences(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name)) and message in str(caught.value)


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.csv.zst", "rows.parquet.gz", "rows.csv"])
def test_damaged_files_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x81 nothing of the kind")
    with pytest.raises(UserError, match=name):
        read_preferences(tmp_path / name)
    whole = packed(written("jsonl", ROWS * 200), ".gz")
    (tmp_path / "torn.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="torn.jsonl.gz: cannot be read"):
        read_preferences(tmp_path / "torn.jsonl.gz")


def test_names_that_stand_twice_in_a_parquet_file_are_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    texts = [pa.array([text]) for text in ("a", "b", "c", "d")]
    pq.write_table(pa.table(texts, names=["prompt", "chosen", "chosen", "rejected"]), path)
    with pytest.raises(UserError, match="the name 'chosen' stands twice"):
        read_preferences(path)
    turn = pa.StructArray.from_arrays(texts[:2], names=["role", "role"])
    pq.write_table(pa.table([turn, *texts[:2]], names=["prompt", "chosen", "rejected"]), path)
    with pytest.raises(UserError, match="the name 'role' stands twice"):
        read_preferences(path)


def test_only_files_that_are_read_in_another_way_than_before_are_called_anew(tmp_path: Path):
    def named(row: dict[str, Any], kind: str) -> str:
        path = tmp_path / f"rows.{kind}"
        path.write_bytes(written(kind, [row]))
        return fingerprint(path).removeprefix(hashlib.sha256(path.read_bytes()).hexdigest())

    turn = {"role": "user", "content": "system"}
    same = [
        ROWS[0],
        {"prompt": [turn], "chosen": 'a "system": b', "score": 1},
        {"messages": [turn]},
    ]
    anew = [{**ROWS[0], "system": ""}, {"prompt": [{**turn, "reasoning_content": "a"}]},
            {"prompt": [{**turn, "name": "a"}]}, {"prompt": json.dumps([turn])},
            {**ROWS[0], "tools": ["a"]}]  # fmt: skip
    for kind in ("jsonl", "parquet"):
        assert [named(row, kind) for row in same] == [""] * 3, kind
        assert [named(row, kind) for row in anew] == [":2"] * 5, kind
