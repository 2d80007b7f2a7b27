"""Files of questions, and of answers to compare with: JSONL, JSON, CSV or Parquet.

A question has an id (`id`, `uid` or `question_id`; else its place) and a text (`prompt`,
`instruction` or `turns`), and may have a `category` and a `reference`. An answer has the question's
id, or else its text, and an `output`, `answer` or `response`: a text, or one for each turn. Answers
as FastChat and Arena-Hard-Auto keep them (`choices` with `turns`, or `messages`) are read as they
are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak.data.formats import files_of, numbered
from tiebreak.errors import UserError
from tiebreak.store import files_hash

IDS = ("id", "uid", "question_id")
TEXTS = ("prompt", "instruction", "turns")
OUTPUTS = ("output", "answer", "response")


@dataclass(frozen=True)
class Asked:
    """turns: what the person says, turn by turn. references: by turn, as far as there are any."""

    id: str
    turns: tuple[str, ...]
    category: str
    references: tuple[str, ...] = ()

    def reference(self, turn: int) -> str | None:
        return self.references[turn] if turn < len(self.references) else None


def content_of(source: str) -> str:
    """sha256 of the files. UserError: there is none."""
    return files_hash(files_of(source, "test"))


def read_questions(source: str, turns: int | None = None) -> list[Asked]:
    """turns: how many each must have. UserError, with the place: a row without a text, another
    number of turns, an id that is there twice, or no row at all."""
    found: list[Asked] = []
    seen: dict[str, str] = {}
    for where, number, row in _rows(source):
        name = str(next((row[key] for key in IDS if row.get(key) is not None), number))
        if name in seen:
            raise UserError(f"{where}: id {name!r} is there already, at {seen[name]}")
        seen[name] = where
        said = _texts(row, where)
        if turns is not None and len(said) != turns:
            raise UserError(f"{where}: {len(said)} turns; each question must have {turns}")
        category = row.get("category") or row.get("dataset") or ""
        references = row.get("reference") or ()
        references = [references] if isinstance(references, str) else references
        found.append(Asked(name, said, str(category), tuple(map(str, references))))
    if not found:
        raise UserError(f"{source} holds no question; give a file with a question per row")
    return found


def read_answers(source: str, questions: list[Asked]) -> list[tuple[str, ...]]:
    """The answers to each question, one for each turn. UserError, with the place: a question has
    none, or two, or fewer answers than turns."""
    by_text = {question.turns[0]: question.id for question in questions}
    turns, found = {q.id: len(q.turns) for q in questions}, dict[str, tuple[str, ...]]()
    for where, _, row in _rows(source):
        texts = _answers(row)
        if not texts:
            raise UserError(f"{where}: no {' or '.join(OUTPUTS)} that is text; give the answer")
        name = next((str(row[key]) for key in IDS if row.get(key) is not None), None)
        if name not in turns:
            name = by_text.get(next((t for t in map(row.get, TEXTS) if isinstance(t, str)), ""))
        if name is None:
            continue  # a question that is not asked here
        if name in found:
            raise UserError(f"{where}: a second answer to question {name!r}; keep one")
        if len(texts) != turns[name]:
            raise UserError(
                f"{where}: {len(texts)} answers to question {name!r}, which has {turns[name]} turns"
            )
        found[name] = texts
    for question in questions:
        if question.id not in found:
            raise UserError(f"{source} has no answer to question {question.id!r}; add it")
    return [found[question.id] for question in questions]


def _answers(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts of a row, turn by turn; empty: it has none."""
    plain = next((row[key] for key in OUTPUTS if row.get(key) is not None), None)
    if plain is not None:
        texts = [plain] if isinstance(plain, str) else plain
    elif isinstance(row.get("choices"), list) and row["choices"]:
        texts = [_content(turn) for turn in _of(row["choices"][0], "turns") or ()]
    else:
        said = [one for one in row.get("messages") or () if _of(one, "role") == "assistant"]
        texts = [_content(message) for message in said]
    whole = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    return tuple(texts) if whole else ()


def _content(turn: Any) -> Any:
    """The text of a turn: itself, its `content`, or the `answer` in that."""
    for key in ("content", "answer"):
        turn = turn[key] if isinstance(turn, Mapping) and key in turn else turn
    return turn


def _of(found: Any, key: str) -> Any:
    return found.get(key) if isinstance(found, Mapping) else None


def _rows(source: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for file in files_of(source, "test"):
        for number, row in numbered(Path(file), str(file)):
            yield f"{file}:{number}", number, row


def _texts(row: dict[str, Any], where: str) -> tuple[str, ...]:
    found = next((row[key] for key in TEXTS if row.get(key)), None)
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        has = ", ".join(map(str, row)) or "no column"
        raise UserError(f"{where}: no {' or '.join(TEXTS)} that is text; it has {has}")
    return tuple(texts)
