"""Random files of rows, good ones and broken ones: none ends in a traceback, none loses a row.

    python benchmarks/malformed_rows.py --files 10000 --seed 0

A file has one to four rows of a form that docs/data.md names, in JSONL, JSON, CSV or Parquet, plain
or packed. Then fields are taken out, renamed, doubled or given other values, messages are bent, and
bytes are cut or changed. Reading it must end in as many rows as it holds, kept or dropped by a
reason; or in one UserError (exit code 2 of the command line) that names the file. Exit code 1 when
a file does neither.
"""

from __future__ import annotations

import argparse
import collections
import csv
import gzip
import io
import json
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tiebreak.data.examples import drop_untrainable, prompt_key  # noqa: E402
from tiebreak.data.formats import numbered  # noqa: E402
from tiebreak.data.lint import of_rows  # noqa: E402
from tiebreak.data.read import fingerprint, read_demonstrations, read_preferences  # noqa: E402
from tiebreak.errors import UserError  # noqa: E402

Row = dict[str, Any]
KINDS = (".jsonl", ".json", ".csv", ".parquet")
PACKED = ("", "", "", ".gz", ".zst")


def good_rows() -> list[tuple[Row, bool]]:
    """(a row, whether it is a demonstration)."""
    asked, told = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
    other = {"role": "assistant", "content": "No."}
    both = {"chosen": "So.", "rejected": "No."}
    turns = [{"from": "human", "value": "Why?"}]
    talk = "\n\nHuman: Why?\n\nAssistant: "
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": 1}}}
    pairs: list[Row] = [
        {"prompt": "Why?", **both},
        {"prompt": [asked], "chosen": [told], "rejected": [other], "id": 3},
        {
            "chosen": [asked, told],
            "rejected": [asked, other],
            "score_chosen": 8,
            "score_rejected": 2,
        },
        {"chosen": talk + "So.", "rejected": talk + "No."},
        {"system": "Be brief.", "question": "Why?", **both},
        {"history": "Why?", "human_ref_A": "So.", "human_ref_B": "No.", "labels": 1},
        {"context": [asked], "response1": "So.", "response2": "No.", "overall_preference": 2},
        {"trajectory": turns, **both, "task": "x"},
        {"conversations": turns, "chosen": told, "rejected": other, "tools": [call]},
        {"instruction": "Why?", "input": "It.", "history": [["a", "b"]], **both},
        {"prompt": "Why?", "responses": ["So.", "No.", "Yes."], "scores": [1, 2.5, -3]},
        {"prompt": [asked], "completion": [{**told, "tool_calls": [call]}], "label": True},
        {
            "prompt": json.dumps([asked]),
            "chosen": json.dumps([told]),
            "rejected": json.dumps(other),
        },
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}], **both},
    ]
    shown: list[Row] = [{"messages": [asked, told]}, {"prompt": "Why?", "response": "So."}]
    return [(row, False) for row in pairs] + [(row, True) for row in shown]


def junk(draw: random.Random) -> Any:
    deep: Any = "x"
    for _ in range(draw.choice((3, 90, 300))):
        deep = [deep] if draw.random() < 0.5 else {"a": deep}
    return draw.choice(
        (None, "", " ", 0, -1, 10**400, 1.5, float("nan"), float("inf"), True, [], {}, [None], deep,
         "\ud800", "\x00\x1b[31m", "[{'role': 'user', 'content': 'a'}]", '[{"role": "user"}]', "{",
         [[]], [{"role": "user"}], [{"role": "cat", "content": "x"}],
         [{"from": "gpt", "value": None}], {"role": "assistant", "content": None},
         [{"role": "user", "content": [{"type": "image"}]}])
    )  # fmt: skip


def bent(value: Any, draw: random.Random) -> Any:
    """The value with something inside it changed, or another one."""
    if value and isinstance(value, dict | list) and draw.random() < 0.7:
        value = json.loads(json.dumps(value))
        key = draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if draw.random() < 0.2:
            del value[key]
        else:
            value[key] = bent(value[key], draw)
        return value
    return junk(draw)


def mutated(row: Row, draw: random.Random) -> Row:
    row, name = dict(row), draw.choice(list(row))
    change = draw.randrange(5)
    if change == 0:
        del row[name]
    elif change == 1:
        row[draw.choice(("prompt", "label", "scores", "x", "images", ""))] = row.pop(name)
    elif change == 2:
        name = draw.choice(("system", "tools", "history", "documents", "id", "extra"))
        row[name] = junk(draw)
    else:
        row[name] = bent(row[name], draw)
    return row


def written(rows: list[Row], kind: str, draw: random.Random) -> bytes | None:
    """The rows as a file; None where this kind cannot hold them."""
    if kind in (".jsonl", ".json"):
        lines = [json.dumps(row) for row in rows]
        if draw.random() < 0.1 and len(rows[0]) > 1:
            one, other = (json.dumps(name) for name in list(rows[0])[:2])
            lines[0] = lines[0].replace(one, other)
        array = kind == ".json" and draw.random() < 0.8
        return (f"[{','.join(lines)}]" if array else "\n".join(lines)).encode()
    try:
        if kind == ".csv":
            text = io.StringIO(newline="")
            names = list(dict.fromkeys(name for row in rows for name in row))
            csv.writer(text).writerows(
                [names, *([_cell(row.get(name)) for name in names] for row in rows)]
            )
            return text.getvalue().encode()
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()
    except (ValueError, TypeError, OverflowError, RecursionError, NotImplementedError, KeyError):
        return None


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def packed(content: bytes, how: str) -> bytes:
    if how == ".gz":
        return gzip.compress(content, 1)
    if how == ".zst":
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(content)
        return sink.getvalue().to_pybytes()
    return content


def damaged(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    new = draw.choice((b"", b"\xff", b'"', b"\x00", b"\n", b"}{", bytes([draw.randrange(256)])))
    return content[:at] + new + content[at + draw.choice((0, 1, 30, len(content))) :]


def outcome(path: Path, demonstration: bool, expected: int | None) -> str:
    """ "read", "dropped" or "refused"; AssertionError for a row that is nowhere."""
    read: Callable[..., Any] = read_demonstrations if demonstration else read_preferences
    try:
        fingerprint(path)
        examples = read(path)
    except UserError as error:
        assert str(path) in str(error), f"{path.name}: the file is not named: {error}"
        return "refused"
    if expected is None:
        expected = sum(1 for _ in numbered(path, str(path)))
    kept, dropped = drop_untrainable(examples)
    assert expected == len(kept) + sum(dropped.counts.values()), f"{path.name}: a row is lost"
    of_rows(examples)
    json.dumps([(prompt_key(one.prompt), one.responses, one.tools) for one in examples])
    return "dropped" if dropped.counts else "read"


def check(files: int, seed: int, folder: Path) -> collections.Counter[str]:
    """How many files ended in what; whatever is no UserError is raised, its file left in place."""
    draw = random.Random(seed)
    forms = good_rows()
    counts: collections.Counter[str] = collections.Counter()
    while counts.total() < files:
        row, demonstration = draw.choice(forms)
        rows = [dict(row) for _ in range(draw.randint(1, 4))]
        for _ in range(draw.choice((0, 1, 1, 2))):
            rows[draw.randrange(len(rows))] = mutated(row, draw)
        kind, how = draw.choice(KINDS), draw.choice(PACKED)
        if not all(rows) or (content := written(rows, kind, draw)) is None:
            continue
        content, expected = packed(content, how), len(rows) if kind != ".csv" else None
        if draw.random() < 0.15:
            content, expected = damaged(content, draw), None
        path = folder / f"rows-{counts.total()}{kind}{how}"
        path.write_bytes(content)
        counts[outcome(path, demonstration, expected)] += 1
        path.unlink()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="malformed-"))
    counts = check(options.files, options.seed, folder)
    told = ", ".join(f"{count} {what}" for what, count in counts.most_common())
    print(f"{counts.total()} files: {told}; no traceback, no row lost")
    folder.rmdir()


if __name__ == "__main__":
    main()
