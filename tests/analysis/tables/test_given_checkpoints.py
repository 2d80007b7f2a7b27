"""Where a checkpoint that was not trained here stands: with what was measured alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiebreak_analysis.records.runs import Record
from tiebreak_analysis.tables.checkpoints import beside, elsewhere
from tiebreak_analysis.tables.comparison import sections_alike
from tiebreak_analysis.tables.table import CHECKPOINTS, section_title


def record(name: str, evaluators: dict[str, str], **more: Any) -> Record:
    """A run; of a checkpoint where it has no start model."""
    given = more.pop("given", False)
    usual = {
        "path": Path(name), "run_id": name, "group_id": name, "status": "finished", "method": name,
        "model": name if given else "tiny", "scenario": "checkpoint" if given else "align",
        "data": "none" if given else "world", "data_hash": None if given else "d" * 16, "seed": 1,
        "settings": {}, "evaluation": "0" * 8 if given else "e" * 8, "evaluators": evaluators,
        "metrics": {METRICS[evaluator]: 0.5 for evaluator in evaluators}, "start_model": "s" * 8,
    }  # fmt: skip
    return Record(**{**usual, **more})


METRICS = {"gold": "gold/reward", "winogrande": "winogrande/acc", "piqa": "piqa/acc"}


def test_what_was_measured_alike_stands_in_one_section() -> None:
    run = record("dpo", {"gold": "g1", "winogrande": "w1"})
    whole = record("zephyr", {"winogrande": "w1"}, given=True)
    part = record("tulu", {"gold": "g2", "winogrande": "w1", "piqa": "p1"}, given=True)
    alike = sections_alike([run, whole, part])
    here, own = alike.values()
    assert {r.run_id: set(r.metrics) for r in here} == {
        "dpo": {"gold/reward", "winogrande/acc"},
        "zephyr": {"winogrande/acc"},
        "tulu": {"winogrande/acc"},
    }
    assert own == [part], "what no run has stands by itself, whole"
    assert next(reversed(alike))[0] == CHECKPOINTS


def test_another_version_never_shares_a_column() -> None:
    run, foreign = record("dpo", {"gold": "g1"}), record("old", {"gold": "g0"}, given=True)
    assert [len(members) for members in sections_alike([run, foreign]).values()] == [1, 1]
    late = {"times": {"finished": "2026-02-02"}}
    newer = record("ipo", {"gold": "g2"}, manifest=late)
    assert beside([run, newer], "e" * 8, [foreign, record("z", {"gold": "g1"}, given=True)]) == []
    (found,) = beside([run, newer], "e" * 8, [record("z", {"gold": "g2"}, given=True)])
    assert found.metrics == {"gold/reward": 0.5}


def test_a_checkpoint_stands_once_by_the_evaluation_that_shares_most() -> None:
    run = record("dpo", {"gold": "g1", "winogrande": "w1"})
    little = record("z", {"winogrande": "w1"}, given=True)
    much = record("z", {"gold": "g1", "winogrande": "w1"}, given=True, evaluation="1" * 8)
    assert beside([run], "e" * 8, [little, much]) == [much]
    assert beside([run], "0" * 8, [little, much]) == [little]
    assert elsewhere([little, much], [much]) == []


def test_a_section_without_a_run_has_no_model() -> None:
    assert section_title(CHECKPOINTS, "none", None, "e" * 12) == (
        "checkpoints · data none · evaluation eeeeeeee"
    )
