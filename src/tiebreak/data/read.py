"""Read preferences and demonstrations from JSONL, Parquet or the Hub into `Example`s.

A row is understood from its fields alone (docs/data.md lists the forms); nothing is guessed from
names of files or data sets, and every error says where: `file.jsonl:12` is line 12,
`file.parquet:12` and `org/name/train:12` are row 12, counted from 1.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiebreak.data.examples import Example, Message
from tiebreak.errors import UserError, nearest

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".parquet")
ROLES = ("system", "user", "assistant")
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
        example = _preference(row, where, _id(row, number, where))
        if examples and _kind(example) != _kind(examples[0]):
            raise UserError(
                f"{where}: {_kind(example)}, but {examples[0].where} is "
                f"{_kind(examples[0])}; keep the two kinds in separate files"
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
        [_demonstration(row, where, _id(row, number, where)) for where, number, row in rows]
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


def _preference(row: Row, where: str, id: str) -> Example:
    """A pair, a ranked list, or a single answer with its label."""
    if "responses" in row or "scores" in row:
        return _ranked(row, where, id)
    paired = "chosen" in row or "rejected" in row
    if paired and ("completion" in row or "label" in row):
        raise UserError(
            f"{where}: both a pair (chosen, rejected) and a labelled answer (completion, label); "
            "keep one of the two"
        )
    if paired:
        return _pair(row, where, id)
    wanted = "prompt, chosen, rejected, or prompt, completion, label"
    completion = _field(row, "completion", where, wanted)
    label = _field(row, "label", where, wanted)
    if not isinstance(label, bool):
        raise UserError(
            f"{where}: 'label' is {label!r}; give true (desirable) or false (undesirable)"
        )
    prompt = _prompt(_field(row, "prompt", where, wanted), where)
    prompt, answer = _explicit(prompt, completion, "completion", where)
    return Example(id, prompt, (answer,), label, where)


def _demonstration(row: Row, where: str, id: str) -> Example:
    """`messages` that end in an assistant turn, or a prompt and its answer."""
    if "messages" in row and "completion" not in row and "response" not in row:
        messages = _messages(row["messages"], "messages", where)
        prompt, answer = _last_turn(messages, "messages", where)
        return Example(id, _ends_in_user(prompt, "messages", where), (answer,), None, where)
    if "completion" in row and "response" in row:
        raise UserError(f"{where}: both 'completion' and 'response'; keep one of the two")
    wanted = "messages, or prompt with completion or response"
    name = "response" if "response" in row else "completion"
    completion = _field(row, name, where, wanted)
    prompt = _prompt(_field(row, "prompt", where, wanted), where)
    prompt, answer = _explicit(prompt, completion, name, where)
    return Example(id, prompt, (answer,), None, where)


def _kind(example: Example) -> str:
    """How to name this row in an error."""
    if example.scores is not None:
        return f"a list of {len(example.responses)}"
    return "a pair" if len(example.responses) == 2 else "a single labelled answer"


def _ranked(row: Row, where: str, id: str) -> Example:
    """k answers to one prompt with a score each; kept best first."""
    wanted = "prompt, responses, scores"
    answers = _field(row, "responses", where, wanted)
    scores = _field(row, "scores", where, wanted)
    if not isinstance(answers, list) or not isinstance(scores, list):
        raise UserError(f"{where}: 'responses' and 'scores' must both be lists, one score each")
    if len(answers) != len(scores) or len(answers) < 2:
        raise UserError(
            f"{where}: {len(answers)} responses with {len(scores)} scores; give two or more, "
            "one score each"
        )
    if not all(type(one) in (int, float) and math.isfinite(one) for one in scores):
        raise UserError(f"{where}: 'scores' holds something other than finite numbers; repair it")
    prompt = _prompt(_field(row, "prompt", where, wanted), where)
    texts = [_text(answer, f"responses[{i}]", where) for i, answer in enumerate(answers)]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    ranked = tuple(texts[i] for i in order)
    return Example(id, prompt, ranked, None, where, tuple(float(scores[i]) for i in order))


def _pair(row: Row, where: str, id: str) -> Example:
    wanted = "prompt, chosen, rejected"
    chosen = _field(row, "chosen", where, wanted)
    rejected = _field(row, "rejected", where, wanted)
    if isinstance(chosen, list) != isinstance(rejected, list):
        raise UserError(
            f"{where}: 'chosen' is {_named(chosen)} and 'rejected' is {_named(rejected)}; "
            "give both as text or both as messages"
        )
    if isinstance(chosen, list) and not isinstance(row.get("prompt"), list):
        prompt, answers = _implicit(row.get("prompt"), chosen, rejected, where)
        return Example(id, prompt, answers, None, where)
    prompt = _prompt(_field(row, "prompt", where, wanted), where)
    prompt, best = _explicit(prompt, chosen, "chosen", where)
    prompt, worst = _explicit(prompt, rejected, "rejected", where)
    return Example(id, prompt, (best, worst), None, where)


def _implicit(
    given: object, chosen: object, rejected: object, where: str
) -> tuple[list[Message], tuple[str, str]]:
    """Two whole conversations (as in UltraFeedback): the prompt is all but the last turn."""
    before, best = _last_turn(_messages(chosen, "chosen", where), "chosen", where)
    other, worst = _last_turn(_messages(rejected, "rejected", where), "rejected", where)
    if before != other:
        raise UserError(
            f"{where}: 'chosen' and 'rejected' part before their last turn; a pair is two answers "
            "to one prompt, so all turns but the last must be the same"
        )
    text = None if given is None else _text(given, "prompt", where)
    if not before and text is not None:
        before = [{"role": "user", "content": text}]
    if not before:
        raise UserError(f"{where}: 'chosen' holds no turn before the answer; give a 'prompt'")
    if text is not None and text.strip() not in [m["content"].strip() for m in before]:
        raise UserError(
            f"{where}: 'prompt' is none of the turns before the answer in 'chosen'; "
            "leave 'prompt' out or make it agree"
        )
    return _ends_in_user(before, "chosen", where), (best, worst)


def _explicit(
    prompt: str | list[Message], value: object, name: str, where: str
) -> tuple[str | list[Message], str]:
    """The answer given as text, as its one assistant turn, or as the prompt with that turn."""
    if not isinstance(value, list):
        return prompt, _text(value, name, where)
    before, answer = _last_turn(_messages(value, name, where), name, where)
    # A text prompt answered by messages is a conversation of one user turn.
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if before and before != turns:
        raise UserError(
            f"{where}: the turns before the answer in {name!r} are not those of 'prompt'; "
            "give only the assistant turn, or the same conversation"
        )
    return turns, answer


def _field(row: Row, name: str, where: str, wanted: str) -> object:
    if name not in row:
        found = ", ".join(sorted(row)) or "none"
        raise UserError(f"{where}: no field {name!r} (fields found: {found}); a row has {wanted}")
    return row[name]


def _text(value: object, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: {name!r} is {_named(value)}; give text or a list of messages")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: {name!r} is not valid Unicode ({error}); repair it") from error
    return value


def _prompt(value: object, where: str) -> str | list[Message]:
    if isinstance(value, list):
        messages = _messages(value, "prompt", where)
        return _ends_in_user(messages, "prompt", where) if messages else messages
    return _text(value, "prompt", where)


def _messages(value: object, name: str, where: str) -> list[Message]:
    if not isinstance(value, list):
        raise UserError(f"{where}: {name!r} is {_named(value)}; give a list of messages")
    return [_message(turn, f"{name}[{i}]", where) for i, turn in enumerate(value)]


def _message(turn: object, name: str, where: str) -> Message:
    if not isinstance(turn, dict):
        raise UserError(f"{where}: {name} is {_named(turn)}; a message has 'role' and 'content'")
    if "role" not in turn or "content" not in turn:
        raise UserError(
            f"{where}: {name} has the fields {', '.join(sorted(turn)) or 'none'}; "
            "a message has 'role' and 'content'"
        )
    if turn["role"] not in ROLES:
        raise UserError(f"{where}: {name} has role {turn['role']!r}; use one of {', '.join(ROLES)}")
    return {"role": turn["role"], "content": _text(turn["content"], f"{name}.content", where)}


def _last_turn(messages: list[Message], name: str, where: str) -> tuple[list[Message], str]:
    _check_end(messages, "assistant", f"{where}: {name!r}", "the assistant's answer")
    return messages[:-1], messages[-1]["content"]


def _ends_in_user(messages: list[Message], name: str, where: str) -> list[Message]:
    _check_end(messages, "user", f"{where}: the prompt in {name!r}", "a user turn")
    return messages


def _check_end(messages: list[Message], role: str, what: str, wanted: str) -> None:
    if not messages or messages[-1]["role"] != role:
        last = f"ends in a {messages[-1]['role']} turn" if messages else "is empty"
        raise UserError(f"{what} {last}; it must end in {wanted}")


def _named(value: object) -> str:
    return {list: "a list", dict: "an object", str: "text"}.get(
        type(value), f"a {type(value).__name__}"
    )
