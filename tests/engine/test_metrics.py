"""Sums and counts: means over cuts, names in the table, and the page made from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import make_data, make_model, make_tokens, make_trainer

from tiebreak.engine import metrics
from tiebreak.methods import METHODS, Pairs, Responses
from tiebreak.metrics import (
    EVALUATION,
    THROUGHPUT,
    TRAINING,
    Metric,
    above,
    axis_label,
    metrics_page,
)
from tiebreak.stages.evaluators import EVALUATORS

DOCS = Path(__file__).parents[2] / "docs"


def pairs(num: int = 6, reference: bool = True) -> Pairs:
    generator = torch.Generator().manual_seed(0)

    def side() -> Responses:
        policy_BT = -torch.rand(num, 5, generator=generator, dtype=torch.float64)
        mask_BT = torch.arange(5)[None] < torch.randint(1, 6, (num, 1), generator=generator)
        reference_BT = -torch.rand(num, 5, generator=generator, dtype=torch.float64)
        return Responses(policy_BT, reference_BT if reference else None, mask_BT)

    return Pairs(side(), side())


def rows(all_pairs: Pairs, part: slice) -> Pairs:
    sides = [
        Responses(r.policy[part], None if r.reference is None else r.reference[part], r.mask[part])
        for r in (all_pairs.chosen, all_pairs.rejected)
    ]
    return Pairs(sides[0], sides[1])


def test_means_do_not_depend_on_the_cuts():
    method, whole = METHODS["dpo"](), pairs()
    at_once: metrics.Sums = {}
    metrics.add(at_once, metrics.observe(method, whole, paired=True))
    in_parts: metrics.Sums = {}
    for part in (slice(0, 1), slice(1, 5), slice(5, 6)):
        metrics.add(in_parts, metrics.observe(method, rows(whole, part), paired=True))
    expected = metrics.means(at_once)
    assert metrics.means(in_parts) == pytest.approx(expected, rel=1e-12)
    assert expected["drift/margin"] == pytest.approx(
        expected["drift/chosen"] - expected["drift/rejected"], rel=1e-12
    )


def test_values_by_hand():
    chosen = Responses(torch.tensor([[-1.0, -1.0], [-3.0, 0.0]]), torch.tensor([[-2.0, -2.0],
                       [-1.0, 0.0]]), torch.tensor([[True, True], [True, False]]))  # fmt: skip
    rejected = Responses(torch.tensor([[-1.0], [-2.0]]), torch.tensor([[-1.0], [0.0]]))
    sums: metrics.Sums = {}
    observed = metrics.observe(METHODS["dpo"](beta=0.5), Pairs(chosen, rejected), paired=True)
    metrics.add(sums, observed)
    found = metrics.means(sums)
    assert found == pytest.approx({
        "reward/chosen": 0.0, "reward/rejected": -0.5, "reward/margin": 0.5,
        "reward/accuracy": 0.75, "drift/chosen": 0.0, "drift/rejected": -1.0, "drift/margin": 1.0,
        "drift/chosen_per_token": -0.5, "drift/rejected_per_token": -1.0, "displaced/share": 0.5,
        "logp/chosen": -2.5, "logp/rejected": -1.5, "length/chosen": 1.5, "length/rejected": 1.0,
    })  # fmt: skip


def test_without_a_reference_there_is_no_drift():
    found = metrics.observe(METHODS["cpo"](), pairs(reference=False), paired=True)
    assert not [name for name in found if "drift" in name or "displaced" in name]


def test_unpaired_sides_have_no_margin_and_an_empty_side_no_mean():
    whole = pairs()
    empty = rows(whole, slice(0, 0))
    one_sided = Pairs(whole.chosen, empty.rejected)
    found = metrics.observe(METHODS["kto"](), one_sided, paired=False)
    assert "reward/margin" not in found and "reward/rejected" not in found
    assert found["reward/chosen"][1] == 6.0


def test_an_unknown_name_is_refused():
    with pytest.raises(AssertionError, match="not in the table"):
        metrics.add({}, {"loss/new": (torch.tensor(1.0), 1.0)})


@pytest.mark.parametrize(
    ("name", "labelled"), [*((name, False) for name in METHODS), ("kto", True)]
)
def test_every_metric_of_a_step_is_in_the_table(tmp_path, name, labelled):
    method, seen = METHODS[name](), []
    data = make_data(make_tokens(8, labelled=labelled), make_model(), method)
    on_step = lambda step, row, speed: seen.append((step, row, speed))  # noqa: E731
    make_trainer(tmp_path, method, make_model(), data, on_step=on_step, epochs=1).train()
    assert [step for step, _, _ in seen] == [1, 2]
    for _, row, speed in seen:
        assert set(row) <= set(metrics.NAMES)
        assert set(speed) <= {m.name for m in THROUGHPUT}
        assert {"loss", "grad/norm", "learning_rate", "positions/unique_token"} <= set(row)
        assert ("kl/mismatched" in row) == method.needs.mismatched
        assert ("reward/margin" in row) != labelled


def test_the_page_is_made_from_the_table():
    page = metrics_page()
    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == page
    for metric in (*TRAINING, *THROUGHPUT, *EVALUATION):
        assert f"| `{metric.name}` | {metric.unit} | " in page
        assert f" | {metric.reduction} | {metric.sentence} |" in page


@pytest.mark.parametrize("table", [TRAINING, THROUGHPUT, EVALUATION])
def test_a_name_stands_once_in_its_table(table: tuple[Metric, ...]):
    names = [metric.name for metric in table]
    assert len(names) == len(set(names))


def test_formulas_take_numbers_and_arrays_alike():
    assert [above(1, 0), above(0, 1), above(2.5, 2.5)] == [1.0, 0.0, 0.5]
    ones, others = np.array([1.0, 0.0, 2.5]), np.array([0.0, 1.0, 2.5])
    assert above(ones, others).tolist() == [1.0, 0.0, 0.5]


def test_every_metric_of_an_evaluation_has_an_evaluator():
    known = {metric.evaluator for metric in EVALUATION}
    assert known <= set(EVALUATORS) and known >= {"generations", "gold", "pairs"}
    own = [metric for metric in EVALUATION if metric.evaluator in ("generations", "gold", "pairs")]
    assert all(metric.items for metric in own if metric.name != "kl/reference")


def test_charts_name_units_that_add_to_the_name():
    assert axis_label("drift/chosen_per_token") == "drift/chosen_per_token (nats/token)"
    assert axis_label("displaced/share") == "displaced/share"
    assert axis_label("gold/reward") == "gold/reward"
    assert axis_label("another/metric") == "another/metric"
