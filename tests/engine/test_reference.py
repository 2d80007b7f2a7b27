"""The reference table, and the live reference of a LoRA policy."""

from __future__ import annotations

import pytest
import torch
from closeness import WITHIN, assert_near, size_of
from tiny import make_model, make_tokens, score_table

from tiebreak.engine.reference import Live, ReferenceTable
from tiebreak.engine.rows import build
from tiebreak.engine.scorer import Scorer, TrainingData
from tiebreak.engine.scoring import install, score


def lora(model, seed: int = 3, zero: bool = False):
    """`model` under an adapter; unless `zero`, with weights that change its output."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj"], task_type="CAUSAL_LM")
    policy = get_peft_model(model, config).eval()
    if not zero:
        with torch.no_grad():
            for name, parameter in policy.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.3)
    install(policy)
    return policy


def test_a_table_round_trips_and_finds_every_response(tmp_path):
    logps = [[torch.tensor([-1.0, -2.0]), torch.tensor([-3.0])], [torch.tensor([-4.0])],
             [torch.tensor([-5.0]), torch.tensor([-6.0, -7.0, -8.0])]]  # fmt: skip
    ReferenceTable.of(logps).save(tmp_path / "t.safetensors")
    table = ReferenceTable.load(tmp_path / "t.safetensors")
    for row, branches in enumerate(logps):
        for branch, expected in enumerate(branches):
            assert torch.equal(table.get(row, branch), expected)


def test_the_table_holds_what_a_forward_gives_in_data_order():
    model, tokens = make_model(), make_tokens(9)
    data = TrainingData(tokens)
    branches = [data.branches(row) for row in range(9)]
    table = score_table(model, branches)
    with torch.no_grad():
        for row, one in enumerate(branches):
            for branch, expected in enumerate(score(model, build([one], 0)).logp):
                assert_near(table.get(row, branch), expected)


def test_progress_reaches_the_number_of_rows():
    from tiebreak.engine.reference import score_all

    model, data, done = make_model(), TrainingData(make_tokens(7)), []
    install(model)
    rows = [data.branches(row) for row in range(7)]
    score_all(model, rows, pad_id=0, budget=50, overhead=5, progress=done.append)
    assert sum(done) == 7 and len(done) > 1


@pytest.mark.parametrize("zero", [True, False])
def test_adapter_off_equals_the_table_of_the_start_model(zero):
    tokens = make_tokens(8)
    data = TrainingData(tokens)
    table = score_table(make_model(), [data.branches(row) for row in range(8)])
    policy = lora(make_model(), zero=zero)
    scorer = Scorer(TrainingData(tokens, live=Live()), 0, budget=60, overhead=5)
    pairs, _ = scorer.pairs(policy, list(range(8)))
    stored = Scorer(TrainingData(tokens, table), 0, budget=60, overhead=5)
    expected, _ = stored.pairs(policy, list(range(8)))
    for side in ("chosen", "rejected"):
        got, want = getattr(pairs, side), getattr(expected, side)
        assert_near(got.reference, want.reference)
        assert not got.reference.requires_grad and got.policy.requires_grad
        start = size_of(got.drift()) < WITHIN * size_of(got.logp())
        assert start == zero, "LoRA starts as the start model"


def test_the_adapter_is_on_again_after_live():
    policy, rows = lora(make_model()), build([TrainingData(make_tokens(2)).branches(1)], 0)
    before = torch.cat(score(policy, rows).logp)
    with Live()(policy) as reference:
        off = torch.cat(score(reference, rows).logp)
        assert not off.requires_grad
    assert torch.equal(torch.cat(score(policy, rows).logp), before)
    assert not torch.allclose(off, before)


def test_live_mismatched_reference_equals_the_table():
    tokens = make_tokens(6)
    partners = [((row + 1) % 3 + (0 if row > 2 else 3), 1) for row in range(6)]
    data = TrainingData(tokens, partners=partners)
    table = score_table(make_model(), [data.mismatched_branches(row) for row in range(6)])
    policy = lora(make_model())
    results = [
        Scorer(TrainingData(tokens, None, partners, mismatched, live=on), 0, 60, 5)
        .mismatched(policy, [4, 0, 2])
        for mismatched, on in ((None, Live()), (table, None))
    ]  # fmt: skip
    for (p, r), (q, s) in zip(*results, strict=True):
        assert torch.equal(p, q)
        assert_near(r, s)
        assert len(p) == len(r)
