"""An evaluation by two processes has the rows of one, token by token; a killed one goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.closeness import assert_near
from tests.end_to_end.commands import MICRO, Command, read_lines
from tiebreak.kept_answers import KeptAnswers
from tiebreak.stages.evaluators import answers

ITEM = [*MICRO, "evaluation.sampling=item"]
TWO = "train.execution.num_processes=2"


def items(home: Path, evaluator: str) -> dict[str, list[dict[str, Any]]]:
    return {folder.name: read_lines(folder / "items.jsonl")
            for folder in (home / "artefacts" / evaluator).glob("[!.]*")}  # fmt: skip


def fresh(home: Path) -> None:
    """Nothing is measured yet."""
    for name in ("pairs", "generations", "gold"):
        shutil.rmtree(home / "artefacts" / name)


def test_two_processes_give_the_rows_of_one(
    home: Path, tiebreak: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fresh(home)
    other = Path(shutil.copytree(home, tmp_path / "other"))
    one = tiebreak("run", *ITEM)
    assert one.code == 0 and "stages: 6 built" in one.out, one.err
    monkeypatch.setenv("TIEBREAK_HOME", str(other))
    two = tiebreak("run", *ITEM, TWO)
    assert two.code == 0 and "stages: 6 built" in two.out, two.err
    for evaluator in ("generations", "pairs", "gold"):
        ours, theirs = items(other, evaluator), items(home, evaluator)
        assert ours.keys() == theirs.keys() and len(ours) == 2
        for key, rows in ours.items():
            assert len(rows) == 16
            for mine, its in zip(rows, theirs[key], strict=True):
                logps = [name for name in mine if name.startswith("logp")]
                assert {**mine, **dict.fromkeys(logps)} == {**its, **dict.fromkeys(logps)}
                for name in set(logps) - {"logp_tokens"}:
                    assert_near(_floats(mine[name]), _floats(its[name]))
    lengths = {len(row["response_ids"]) for rows in items(other, "generations").values()
               for row in rows}  # fmt: skip
    assert len(lengths) > 3, "they are sampled"
    assert not list(other.glob("artefacts/*/*/kept")) and not list(
        other.glob("artefacts/*/.*.work")
    )


def _floats(value: Any) -> list[float]:
    return value if isinstance(value, list) else [value]


class Killed(Exception):
    pass


def test_a_killed_evaluation_goes_on_with_another_number_of_processes(
    home: Path, tiebreak: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh(home)
    add, batches = KeptAnswers.add, list[int]()

    def killed(self: KeptAnswers, found: dict[str, Any]) -> None:
        add(self, found)
        batches.append(len(found))
        if len(batches) == 3:
            raise Killed

    monkeypatch.setattr(KeptAnswers, "add", killed)
    small = "evaluation.batch_size=4"
    with pytest.raises(Killed):
        tiebreak("run", *ITEM, small)
    monkeypatch.setattr(KeptAnswers, "add", add)
    (folder,) = home.glob("artefacts/generations/.*.work/kept/generations")
    assert len((folder / "answers.jsonl").read_text().split("\n")) >= 12 and batches == [4, 4, 4]
    written: list[int] = []
    by_engine = answers._by_engine

    def counted(subject: Any, names: Any, *rest: Any) -> None:
        written.append(len(names))
        by_engine(subject, names, *rest)

    monkeypatch.setattr(answers, "_by_engine", counted)
    assert tiebreak("run", *ITEM, small, TWO).code == 0
    # Of the start model four are left, two to each process; of the policy all sixteen.
    assert written == [2, 8]
