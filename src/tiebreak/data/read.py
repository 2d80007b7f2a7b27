"""Read preferences and demonstrations from JSONL, Parquet or the Hub into `Example`s. A row is
understood from its fields alone (docs/data.md lists the forms); nothing is guessed from names of
files or data sets, and every error says where: `file.jsonl:12` is line 12, `file.parquet:12` and
`org/name/train:12` are row 12, counted from 1."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
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
    """Pairs (prompt, chosen, rejected), ranked lists (prompt, responses, scores) or single labelled
    answers (prompt, completion, label). source: a .jsonl or .parquet file, or a Hub id; split and
    revision select within a Hub data set (a file is one split). Raises UserError naming the place,
    what was found and the remedy."""
    examples: list[Example] = []
    for example in _examples(_preference, source, split, revision):
        if examples and _kind(example) != _kind(examples[0]):
            raise UserError(
                f"{example.where}: {_kind(example)}, but {examples[0].where} is "
                f"{_kind(examples[0])}; keep the two kinds in separate files"
            )
        examples.append(example)
    return _unique_ids(examples)


def read_demonstrations(
    source: str | Path, split: str = "train", revision: str | None = None
) -> list[Example]:
    """Conversations to imitate: `messages`, or `prompt` with `completion` or `response`. responses
    is (answer,): the last assistant turn; the turns before it are the prompt."""
    return _unique_ids(list(_examples(_demonstration, source, split, revision)))


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


def _examples(
    parse: Callable[[Row, str], Example], source: str | Path, split: str, revision: str | None
) -> Iterator[Example]:
    """Each row as `parse` makes it of its id and the fields that are not null."""
    if is_hub(source):
        from tiebreak.data import hub

        name, numbered = f"{source}/{split}", hub.load_rows(str(source), split, revision)
    else:
        path = _file(source, revision)
        name = str(source)
        numbered = _jsonl(path, name) if path.suffix == ".jsonl" else _parquet(path, name)
    empty = True
    for number, given in numbered:
        empty, where = False, f"{name}:{number}"
        row = {key: value for key, value in given.items() if value is not None}
        try:
            example = parse(row, _id(row, number))
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        yield replace(example, where=where)
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


def _id(row: Row, number: int) -> str:
    value = row.get("id", number)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise UserError(f"'id' is a {type(value).__name__}; give text or a whole number")
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


def _preference(row: Row, id: str) -> Example:
    """A pair, a ranked list, or a single answer with its label."""
    if "responses" in row or "scores" in row:
        return _ranked(row, id)
    paired = "chosen" in row or "rejected" in row
    if paired and ("completion" in row or "label" in row):
        raise UserError(
            "both a pair (chosen, rejected) and a labelled answer (completion, label); "
            "keep one of the two"
        )
    if paired:
        return _pair(row, id)
    wanted = "prompt, chosen, rejected, or prompt, completion, label"
    prompt, answer = _answered(row, "completion", wanted)
    label = _field(row, "label", wanted)
    if not isinstance(label, bool):
        raise UserError(f"'label' is {label!r}; give true (desirable) or false (undesirable)")
    return Example(id, prompt, (answer,), label)


def _demonstration(row: Row, id: str) -> Example:
    """`messages` that end in an assistant turn, or a prompt and its answer."""
    if "messages" in row and "completion" not in row and "response" not in row:
        prompt, answer = _last_turn(row["messages"], "messages")
        return Example(id, _ends_in_user(prompt, "messages"), (answer,))
    if "completion" in row and "response" in row:
        raise UserError("both 'completion' and 'response'; keep one of the two")
    name = "response" if "response" in row else "completion"
    prompt, answer = _answered(row, name, "messages, or prompt with completion or response")
    return Example(id, prompt, (answer,))


def _kind(example: Example) -> str:
    """How to name this row in an error."""
    if example.scores is not None:
        return f"a list of {len(example.responses)}"
    return "a pair" if len(example.responses) == 2 else "a single labelled answer"


def _ranked(row: Row, id: str) -> Example:
    """k answers to one prompt with a score each; kept best first."""
    wanted = "prompt, responses, scores"
    answers, scores = _field(row, "responses", wanted), _field(row, "scores", wanted)
    if not isinstance(answers, list) or not isinstance(scores, list):
        raise UserError("'responses' and 'scores' must both be lists, one score each")
    if len(answers) != len(scores) or len(answers) < 2:
        raise UserError(
            f"{len(answers)} responses with {len(scores)} scores; give two or more, one score each"
        )
    if not all(type(one) in (int, float) and math.isfinite(one) for one in scores):
        raise UserError("'scores' holds something other than finite numbers; repair it")
    prompt = _prompt(row, wanted)
    texts = [_text(answer, f"responses[{i}]") for i, answer in enumerate(answers)]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    ranked = tuple(texts[i] for i in order)
    return Example(id, prompt, ranked, scores=tuple(float(scores[i]) for i in order))


def _pair(row: Row, id: str) -> Example:
    wanted = "prompt, chosen, rejected"
    chosen, rejected = _field(row, "chosen", wanted), _field(row, "rejected", wanted)
    if isinstance(chosen, list) != isinstance(rejected, list):
        raise UserError(
            f"'chosen' is {_named(chosen)} and 'rejected' is {_named(rejected)}; "
            "give both as text or both as messages"
        )
    if isinstance(chosen, list) and not isinstance(row.get("prompt"), list):
        return Example(id, *_implicit(row.get("prompt"), chosen, rejected))
    prompt, best = _explicit(_prompt(row, wanted), chosen, "chosen")
    prompt, worst = _explicit(prompt, rejected, "rejected")
    return Example(id, prompt, (best, worst))


def _implicit(
    given: object, chosen: object, rejected: object
) -> tuple[list[Message], tuple[str, str]]:
    """Two whole conversations (as in UltraFeedback): the prompt is all but the last turn."""
    before, best = _last_turn(chosen, "chosen")
    other, worst = _last_turn(rejected, "rejected")
    if before != other:
        raise UserError(
            "'chosen' and 'rejected' part before their last turn; a pair is two answers "
            "to one prompt, so all turns but the last must be the same"
        )
    text = None if given is None else _text(given, "prompt")
    if not before and text is not None:
        before = [{"role": "user", "content": text}]
    if not before:
        raise UserError("'chosen' holds no turn before the answer; give a 'prompt'")
    if text is not None and text.strip() not in [m["content"].strip() for m in before]:
        raise UserError(
            "'prompt' is none of the turns before the answer in 'chosen'; "
            "leave 'prompt' out or make it agree"
        )
    return _ends_in_user(before, "chosen"), (best, worst)


def _answered(row: Row, name: str, wanted: str) -> tuple[str | list[Message], str]:
    """The prompt, and the answer that the field `name` holds."""
    value = _field(row, name, wanted)
    return _explicit(_prompt(row, wanted), value, name)


def _explicit(
    prompt: str | list[Message], value: object, name: str
) -> tuple[str | list[Message], str]:
    """The answer given as text, as its one assistant turn, or as the prompt with that turn."""
    if not isinstance(value, list):
        return prompt, _text(value, name)
    before, answer = _last_turn(value, name)
    # A text prompt answered by messages is a conversation of one user turn.
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if before and before != turns:
        raise UserError(
            f"the turns before the answer in {name!r} are not those of 'prompt'; "
            "give only the assistant turn, or the same conversation"
        )
    return turns, answer


def _field(row: Row, name: str, wanted: str) -> object:
    if name not in row:
        found = ", ".join(sorted(row)) or "none"
        raise UserError(f"no field {name!r} (fields found: {found}); a row has {wanted}")
    return row[name]


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{name!r} is {_named(value)}; give text or a list of messages")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{name!r} is not valid Unicode ({error}); repair it") from error
    return value


def _prompt(row: Row, wanted: str) -> str | list[Message]:
    value = _field(row, "prompt", wanted)
    if not isinstance(value, list):
        return _text(value, "prompt")
    messages = _messages(value, "prompt")
    return _ends_in_user(messages, "prompt") if messages else messages


def _messages(value: object, name: str) -> list[Message]:
    if not isinstance(value, list):
        raise UserError(f"{name!r} is {_named(value)}; give a list of messages")
    return [_message(turn, f"{name}[{i}]") for i, turn in enumerate(value)]


def _message(turn: object, name: str) -> Message:
    if not isinstance(turn, dict):
        raise UserError(f"{name} is {_named(turn)}; a message has 'role' and 'content'")
    if "role" not in turn or "content" not in turn:
        found = ", ".join(sorted(turn)) or "none"
        raise UserError(f"{name} has the fields {found}; a message has 'role' and 'content'")
    if turn["role"] not in ROLES:
        raise UserError(f"{name} has role {turn['role']!r}; use one of {', '.join(ROLES)}")
    return {"role": turn["role"], "content": _text(turn["content"], f"{name}.content")}


def _last_turn(value: object, name: str) -> tuple[list[Message], str]:
    messages = _messages(value, name)
    _check_end(messages, "assistant", repr(name), "the assistant's answer")
    return messages[:-1], messages[-1]["content"]


def _ends_in_user(messages: list[Message], name: str) -> list[Message]:
    _check_end(messages, "user", f"the prompt in {name!r}", "a user turn")
    return messages


def _check_end(messages: list[Message], role: str, what: str, wanted: str) -> None:
    if not messages or messages[-1]["role"] != role:
        last = f"ends in a {messages[-1]['role']} turn" if messages else "is empty"
        raise UserError(f"{what} {last}; it must end in {wanted}")


def _named(value: object) -> str:
    words = {list: "a list", dict: "an object", str: "text"}
    return words.get(type(value), f"a {type(value).__name__}")
