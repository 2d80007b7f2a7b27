"""Every other method whose loss stock TRL 1.16 has: the same batch, loss and gradients.

`factor` is what TRL's value is of ours, where the two are only proportional. Methods of which TRL
has no loss are named in `ABSENT`. Importing TRL takes most of this file's time.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from closeness import WITHIN, assert_near
from tiny import gradients, make_data, make_trainer, one_step, plain_descent
from trl_oracles import (
    LEVEL,
    NUM,
    assert_equal,
    assert_same,
    cpo_trainer,
    dpo_trainer,
    first_batch,
    mean_tokens,
    orpo_trainer,
    pairs_of,
    policy_model,
    scored,
    start_model,
    theirs,
)

from tiebreak.engine.batches import BatchPlan
from tiebreak.methods import METHODS

CORE = {"dpo", "ipo", "kto", "cpo"}  # in test_trl_parity.py
ABSENT = {"beta-dpo", "dpop", "rdpo", "rrhf", "tdpo1", "tdpo2"}

# (method, its settings, DPOTrainer's settings, rows, factor)
DPO_LOSSES = {
    "rso": ("rso", {"gamma": 1.0}, {"loss_type": ["hinge"], "beta": 1.0}, "pairs", 1),
    "robust": (
        "robust", {"beta": 0.3, "label_smoothing": 0.2},
        {"loss_type": ["robust"], "beta": 0.3, "label_smoothing": 0.2}, "pairs", 1,
    ),
    # robust at the rate -e / (1 - 2 e) is cDPO at the rate e; TRL only warns of the sign.
    "cdpo": (
        "cdpo", {"beta": 0.3, "label_smoothing": 0.2},
        {"loss_type": ["robust"], "beta": 0.3, "label_smoothing": -0.2 / 0.6}, "pairs", 1,
    ),
    "exo": (
        "exo", {"beta": 0.3, "label_smoothing": 0.01},
        {"loss_type": ["exo_pair"], "beta": 0.3, "label_smoothing": 0.01}, "pairs", 1,
    ),
    "nca": ("nca", {"beta": 0.3}, {"loss_type": ["nca_pair"], "beta": 0.3}, "pairs", 1),
    "apo-zero": ("apo-zero", {"beta": 0.3}, {"loss_type": ["apo_zero"], "beta": 0.3}, "pairs", 1),
    "apo-down": ("apo-down", {"beta": 0.3}, {"loss_type": ["apo_down"], "beta": 0.3}, "pairs", 1),
    "discopop": (
        "discopop", {"beta": 0.2, "tau": 0.5},
        {"loss_type": ["discopop"], "beta": 0.2, "discopop_tau": 0.5}, "pairs", 1,
    ),
    "dpo-norm": ("dpo-norm", {"beta": 2}, {"loss_type": ["sigmoid_norm"], "beta": 2}, "pairs", 1),
    "ld-dpo": ("ld-dpo", {"beta": 0.3, "alpha": 0.4}, {"beta": 0.3, "ld_alpha": 0.4}, "pairs", 1),
    "spin": ("spin", {"beta": 0.3}, {"beta": 0.3}, "pairs", 1),
    # TRL adds the two squares, the authors average them.
    "sppo": ("sppo", {"beta": 0.5}, {"loss_type": ["sppo_hard"], "beta": 0.5}, "pairs", 2),
    # No beta in Cal-DPO's logistic term, so the two are equal at beta 1 only.
    "cal-dpo": (
        "cal-dpo", {"beta": 1.0},
        {"loss_type": ["sigmoid", "sppo_hard"], "loss_weights": [1, 0.5], "beta": 1.0}, "pairs", 1,
    ),
    # TRL has drifts per token: with n tokens each, (h / n - 1 / (2 n tau))^2 is ours / n^2.
    "ipo sum": (
        "ipo", {"tau": 0.1, "reduction": "sum"},
        {"loss_type": ["ipo"], "beta": 0.1 * LEVEL}, "level responses", LEVEL**-2,
    ),
    # TRL divides the NLL by all chosen tokens of the batch, ours by those of each response.
    "sft": ("sft", {}, {"loss_type": ["sft"]}, "level responses", 1),
    "rpo response": (
        "rpo", {"beta": 0.3, "eta": 0.4, "nll": "response"},
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [1, 0.4], "beta": 0.3},
        "level responses", 1,
    ),
    # A sum per response is TRL's NLL times the mean number of chosen tokens.
    "rpo sum": (
        "rpo", {"beta": 0.3, "eta": 0.1, "nll": "sum"},
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [1, 0.1 * 0.3 * mean_tokens()],
         "beta": 0.3}, "pairs", 1,
    ),
}  # fmt: skip

# The same for CPOTrainer.
CPO_LOSSES = {
    # TRL's simpo_gamma is gamma, not gamma / beta, here and in AlphaPO.
    "simpo": (
        "simpo", {"beta": 2.0, "gamma": 1.0},
        {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0}, "pairs", 1,
    ),
    "alphapo": (
        "alphapo", {"beta": 0.5, "gamma": 0.3, "alpha": 0.25},
        {"loss_type": "alphapo", "beta": 0.5, "simpo_gamma": 0.3, "alpha": 0.25}, "pairs", 1,
    ),
    "alphapo below 0": (
        "alphapo", {"beta": 4.0, "gamma": 0.3, "alpha": -0.25},
        {"loss_type": "alphapo", "beta": 4.0, "simpo_gamma": 0.3, "alpha": -0.25}, "pairs", 1,
    ),
    # max(0, delta - m) is delta times TRL's max(0, 1 - m / delta); the likelihood as in "rpo sum".
    "slic": (
        "slic", {"delta": 2.0, "regulariser_weight": 0.1},
        {"loss_type": "hinge", "beta": 1 / 2, "cpo_alpha": 0.1 * mean_tokens() / 2}, "pairs", 1 / 2,
    ),
    # TRL's hinge has sums: n times the mean for n tokens each.
    "repo": (
        "repo", {"gamma": 0.5},
        {"loss_type": "hinge", "beta": 1 / (0.5 * LEVEL), "cpo_alpha": 0.0}, "level responses", 2,
    ),
    "cpo response": (
        "cpo", {"beta": 0.2, "alpha": 0.4}, {"beta": 0.2, "cpo_alpha": 0.4}, "level responses", 1,
    ),
}  # fmt: skip

HINGES = {"rso": 1.0, "slic": 2.0, "repo": 0.5}  # the margin from which they are flat, as set above


@pytest.mark.parametrize("case", DPO_LOSSES)
def test_losses_of_dpo_trainer(tmp_path, tokenizer, case):
    compare(dpo_trainer, DPO_LOSSES[case], tmp_path, tokenizer)


@pytest.mark.parametrize("case", CPO_LOSSES)
def test_losses_of_cpo_trainer(tmp_path, tokenizer, case):
    compare(cpo_trainer, CPO_LOSSES[case], tmp_path, tokenizer)


def test_orpo(tmp_path, tokenizer):
    """TRL's NLL is a mean over the tokens of the batch: equal where all rows have one length."""
    case = ("orpo", {"odds_ratio_weight": 0.7}, {"beta": 0.7}, "level rows", 1)
    compare(orpo_trainer, case, tmp_path, tokenizer)


def compare(make: Any, case: tuple, folder: Any, tokenizer: Any) -> None:
    name, settings, config, kind, factor = case
    method = METHODS[name](**settings)
    expected = theirs(make(folder, tokenizer, kind, **config))
    data = make_data(pairs_of(expected[2]), start_model(), method)
    assert_equal(expected, method, data, folder, factor)
    if name in HINGES:
        chosen_B, rejected_B = method.rewards(scored(method, data))
        assert 0 < (chosen_B - rejected_B < HINGES[name]).sum() < NUM, "pairs on both sides"


@pytest.mark.parametrize("name", ["sft", "orpo"])
def test_on_ragged_rows_trl_weighs_the_nll_by_tokens(tmp_path, tokenizer, name):
    """Known difference: sum(n * nll) / sum(n) in TRL, mean(nll) here, per row of n tokens."""
    make, config = {"sft": (dpo_trainer, {"loss_type": ["sft"]}), "orpo": (orpo_trainer, {})}[name]
    loss, _, batch = theirs(make(tmp_path, tokenizer, **config))
    method = METHODS[name]()
    data = make_data(pairs_of(batch), start_model(), method)
    pairs = scored(method, data)
    nll_B, length_B = -pairs.chosen.logp(), pairs.chosen.length()
    if name == "orpo":
        nll_B, length_B = nll_B - pairs.prompt.logp(), length_B + pairs.prompt.length()
    difference = nll_B.sum() / length_B.sum() - (nll_B / length_B).mean()
    assert abs(difference) > 1e-2
    assert_near(loss, method.loss(pairs).mean() + difference)


def test_trl_ignores_label_smoothing_in_its_sigmoid_loss(tmp_path, tokenizer):
    """Known difference: with label_smoothing TRL's `sigmoid` is still plain DPO, not cDPO."""
    trainer = dpo_trainer(tmp_path, tokenizer, beta=0.3, label_smoothing=0.2)
    expected = theirs(trainer)
    dpo, cdpo = METHODS["dpo"](beta=0.3), METHODS["cdpo"](beta=0.3, label_smoothing=0.2)
    data = make_data(pairs_of(expected[2]), start_model(), dpo)
    assert_equal(expected, dpo, data, tmp_path)
    assert abs(cdpo.loss(scored(cdpo, data)).mean() - expected[0]) > 1e-2


def test_wpo_where_no_weight_is_clamped(tmp_path, tokenizer):
    trainer = dpo_trainer(tmp_path, tokenizer, beta=0.3, use_weighting=True)
    expected = theirs(trainer, likely(first_batch(trainer), 9))
    method = METHODS["wpo"](beta=0.3)
    data = make_data(pairs_of(expected[2]), start_model(), method)
    assert_equal(expected, method, data, tmp_path)
    weight_B = method.weight(scored(method, data))
    assert 0.1 < weight_B.max() < 1, "at 1 the clamp would act"
    assert weight_B.max() > 1.5 * weight_B.min()


def test_trl_does_not_clamp_the_weights_of_wpo(tmp_path, tokenizer):
    """Known difference: where all weights pass 1, ours is DPO, as the authors'; TRL's is more."""
    trainer = dpo_trainer(tmp_path, tokenizer, beta=0.3, use_weighting=True)
    expected = theirs(trainer, likely(first_batch(trainer), 1))
    wpo, dpo = METHODS["wpo"](beta=0.3), METHODS["dpo"](beta=0.3)
    data = make_data(pairs_of(expected[2]), start_model(), wpo)
    pairs = scored(wpo, data)
    log_weight_B = sum(s.mean(s.policy - s.collision) for s in (pairs.chosen, pairs.rejected))
    assert log_weight_B.min() > 0.1
    weighted = (log_weight_B.exp() * dpo.loss(pairs)).mean().item()
    assert_near(expected[0], weighted)
    row, found = one_step(tmp_path, wpo, data, range(NUM), model=policy_model(), budget=120)
    same, plain = one_step(tmp_path, dpo, data, range(NUM), model=policy_model(), budget=120)
    assert_same((same["loss"], plain, None), row["loss"], found)


def likely(batch: dict[str, Any], rank: int) -> dict[str, Any]:
    """The batch with responses of the policy's tokens of that rank (0: the likeliest).

    The rejected ones begin with the next rank.
    """
    model, ids = policy_model(), batch["input_ids"].clone()
    inside = batch["completion_mask"].bool()
    for t in range(1, ids.shape[1]):
        with torch.no_grad():
            logits = model(ids, attention_mask=batch["attention_mask"]).logits[:, t - 1]
        usual, other = logits.topk(rank + 2).indices.T[rank:]
        begins = inside[:, t] & ~inside[:, t - 1]
        begins[:NUM] = False  # the chosen responses
        ids[:, t] = torch.where(inside[:, t], torch.where(begins, other, usual), ids[:, t])
    return {**batch, "input_ids": ids}


def test_bco_beside_bco_pair(tmp_path, tokenizer):
    """TRL 1.16 has no BCOTrainer; its `bco_pair` is BCO with a running mean of 0.

    It adds the two responses of a pair, ours is a mean over responses: factor 2.
    """
    expected = theirs(dpo_trainer(tmp_path, tokenizer, loss_type=["bco_pair"], beta=0.3))
    method = METHODS["bco"](beta=0.3)
    data = make_data(pairs_of(expected[2]), start_model(), method)

    def step(carried: dict[str, float]) -> tuple:
        plan = BatchPlan((tuple(range(NUM)),))
        trainer = make_trainer(tmp_path, method, policy_model(), data, plan=plan, budget=120)
        trainer.method_state.carried = carried
        loss = trainer.backward(plan.steps[0], step=8)["loss"]
        return loss, gradients(trainer.model), trainer.method_state.carried

    shifted, _, after = step({})
    assert after["count"] == 2 * NUM
    assert abs(2 * shifted - expected[0]) > 1e-3, "the running mean of the first step counts"
    # A past as long as this batch, of the opposite mean, brings the running mean to 0.
    loss, found, after = step({"count": after["count"], "delta": -after["delta"]})
    assert abs(after["delta"]) < 1e-6
    assert abs(loss - method.loss_at_start()) > 1e-2
    assert_same(expected, loss, found, factor=2)


def test_tr_dpo_moves_the_reference_as_trl_does(tmp_path, tokenizer):
    """Four updates and two syncs, so the third update is against a moved reference."""
    trainer = dpo_trainer(
        tmp_path / "theirs", tokenizer, policy=start_model(), beta=0.3, max_steps=4,
        sync_ref_model=True, ref_model_mixup_alpha=0.6, ref_model_sync_steps=2,
        optim="sgd", learning_rate=0.1, lr_scheduler_type="constant",
    )  # fmt: skip
    tokens = pairs_of(first_batch(trainer))
    trainer.train()

    method = METHODS["tr-dpo"](beta=0.3, mixing=0.6, sync_every=2)
    data, policy = make_data(tokens, start_model(), method), start_model()
    plan = BatchPlan((tuple(range(NUM)),) * 4)
    ours = make_trainer(
        tmp_path / "ours", method, policy, data, plan=plan, budget=120, learning_rate=0.1,
        schedule="constant",
    )  # fmt: skip
    plain_descent(ours).train()

    assert_weights_near(policy, trainer.model, WITHIN)
    assert_weights_near(data.live.copy, trainer.ref_model, WITHIN)
    for other in (start_model(), policy):
        with pytest.raises(AssertionError):
            assert_weights_near(data.live.copy, other, 1e-3)


def assert_weights_near(ours: Any, their: Any, within: float) -> None:
    for (name, mine), its in zip(ours.named_parameters(), their.parameters(), strict=True):
        assert_near(mine, its, within=within, what=name)


def test_every_method_is_compared_or_absent_from_trl():
    compared = {case[0] for case in (DPO_LOSSES | CPO_LOSSES).values()}
    compared |= {"orpo", "wpo", "bco", "tr-dpo"}
    assert compared.isdisjoint(ABSENT)
    assert set(METHODS) == compared | CORE | ABSENT
