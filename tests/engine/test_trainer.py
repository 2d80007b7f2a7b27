"""One optimiser step through the trainer: what must not change it, and when it must stop."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path

import pytest
import torch
from closeness import assert_gradients_near, assert_near, assert_rows_near, size_of
from tiny import gradients, make_data, make_model, make_tokens, make_trainer, moved, one_step

from tiebreak.engine import processes
from tiebreak.engine.batches import BatchPlan
from tiebreak.engine.reference import Live, MethodState, ReferenceTable
from tiebreak.engine.scorer import Scorer, TrainingData, stack
from tiebreak.engine.scoring import install
from tiebreak.engine.trainer import whole_lines
from tiebreak.errors import TrainingFailed, UserError
from tiebreak.methods import METHODS

CASES = {name: (cls(), make_tokens(10)) for name, cls in METHODS.items()}
CASES |= {
    "kto": (METHODS["kto"](desirable_weight=1.3), make_tokens(10)),
    "kto unpaired": (METHODS["kto"](), make_tokens(10, labelled=True)),
    "bco unpaired": (METHODS["bco"](), make_tokens(10, labelled=True)),
    "cpo": (METHODS["cpo"](nll="batch"), make_tokens(10)),
    "sppo": (METHODS["sppo"](beta=0.5), make_tokens(10)),  # its own beta asks for 500 nats
    "cal-dpo": (METHODS["cal-dpo"](beta=0.5), make_tokens(10)),
    "rrhf of 4": (METHODS["rrhf"](k=4), make_tokens(10, k=4)),
}
LAYOUT = {"positions/unique_token"}  # the one metric that says how the work was laid out
SIGNS = ("reward/accuracy", "displaced/share")  # of what is 0 up to rounding, before an update


def assert_same(first, second):
    rows = ({k: v for k, v in row.items() if k not in LAYOUT} for row, _ in (second, first))
    assert_rows_near(*rows)
    assert_gradients_near(second[1], first[1])


@pytest.fixture(params=CASES, ids=str)
def case(request):
    method, tokens = CASES[request.param]
    return method, make_data(tokens, make_model(), method, mismatched_shift=0.2)


def test_cut_padding_and_order_do_not_matter(tmp_path, case):
    method, data = case
    expected = one_step(tmp_path, method, data, range(10), budget=10**6)
    assert expected[0].get("kl/mismatched", 1.0) > 0.5, "clamped at 0 it would prove nothing"
    shuffled = random.Random(1).sample(range(10), 10)
    for changes in ({"budget": 1}, {"budget": 45}, {"pad_id": 299}):
        assert_same(expected, one_step(tmp_path, method, data, range(10), **changes))
    assert_same(expected, one_step(tmp_path, method, data, shuffled, budget=45))


def test_what_is_compared_would_show_a_tenth_of_a_percent(tmp_path):
    """Of DPOP's penalty, beside which any fixed tolerance is too small or too large."""
    tokens = make_tokens(10)
    for weight, same in ((50.0, True), (50.05, False), (-50.0, False)):
        method = METHODS["dpop"]()
        data = make_data(tokens, make_model(), method)
        expected = one_step(tmp_path, method, data, range(10), budget=10**6)
        object.__setattr__(method, "penalty_weight", weight)
        row, grads = one_step(tmp_path, method, data, range(10), budget=45)
        for found, want, check in (
            ({"loss": row["loss"]}, {"loss": expected[0]["loss"]}, assert_rows_near),
            (grads, expected[1], assert_gradients_near),
        ):
            if same:
                check(found, want)
                continue
            with pytest.raises(AssertionError, match="apart"):
                check(found, want)


def test_the_step_is_the_mean_of_the_losses_of_one_batch(tmp_path, case):
    """Against `method.loss` on all rows at once, differentiated by autograd alone."""
    method, data = case
    row, found = one_step(tmp_path, method, data, range(10), budget=45)
    model = moved(make_model())
    install(model)
    scorer = Scorer(data, 0, 10**6, 0)
    pairs, _ = scorer.pairs(model, list(range(10)), method.needs)
    state = MethodState(method)
    pairs = state.advance(pairs, 0, 8, range(10)) if method.needs.whole_batch else pairs
    if data.partners is not None:
        mismatched = stack(scorer.mismatched(model, list(range(10))))
        pairs = dataclasses.replace(pairs, mismatched=mismatched)
        mean = mismatched.drift().mean().item()
        assert_near(row["kl/mismatched"], mean, size=size_of(mismatched.logp()), what="kl")
    loss = method.loss(pairs).mean()
    loss.backward()
    assert_near(row["loss"], loss, what="loss")
    assert_gradients_near(found, gradients(model))


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_gradient_checkpointing_gives_the_same_gradients(tmp_path, adapter):
    method = METHODS["dpo"]()
    data = make_data(make_tokens(10), make_model(), method)
    plan = BatchPlan((tuple(range(10)),) * 2)
    trained = []
    for checkpointing in (False, True):
        model = lora(make_model()) if adapter else make_model()
        trainer = make_trainer(
            tmp_path, method, model, data, plan=plan, gradient_checkpointing=checkpointing
        )
        trainer.train()
        on = {getattr(m, "gradient_checkpointing", False) for m in model.modules()}
        assert (True in on) == checkpointing
        trained.append({n: p.detach() for n, p in trainer.model.named_parameters()})
    start = dict((lora(make_model()) if adapter else make_model()).named_parameters())
    for name, expected in trained[0].items():
        assert_near(trained[1][name], expected, what=name)
    assert any(not torch.equal(start[name], value) for name, value in trained[1].items())


def lora(model):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    return get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"))


def test_a_live_reference_trains_like_a_stored_one(tmp_path):
    method, tokens, rows = METHODS["dpo"](), make_tokens(10), ([], [])
    stored = make_data(tokens, make_model(), method)
    for data, seen in zip((stored, TrainingData(tokens, live=Live())), rows, strict=True):
        on_step = lambda step, row, speed, seen=seen: seen.append(row)  # noqa: E731
        make_trainer(tmp_path, method, lora(make_model()), data, on_step=on_step).train()
    assert len(rows[0]) == 4
    for first in (rows[0][0], rows[1][0]):
        for sign in SIGNS:
            assert 0 <= first.pop(sign) <= 1
    for one, other in zip(*rows, strict=True):
        assert_rows_near(other, one)


def test_training_lowers_the_loss_and_reports_every_step(tmp_path):
    method, rows = METHODS["dpo"](), []
    data = make_data(make_tokens(10), make_model(), method)
    on_step = lambda step, row, speed: rows.append((step, row))  # noqa: E731
    make_trainer(
        tmp_path, method, make_model(), data, on_step=on_step, batch_size=10, epochs=4
    ).train()
    assert [step for step, _ in rows] == [1, 2, 3, 4]
    assert rows[0][1]["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert rows[-1][1]["loss"] < 0.6
    assert rows[0][1]["learning_rate"] == pytest.approx(1e-2)


@pytest.mark.parametrize("limit", [0.0, 1e-3])
def test_the_gradient_norm_is_reported_before_clipping(tmp_path, limit):
    method, rows = METHODS["dpo"](), []
    data = make_data(make_tokens(6), make_model(), method)
    on_step = lambda step, row, speed: rows.append(row)  # noqa: E731
    plan = BatchPlan((tuple(range(6)),))
    make_trainer(
        tmp_path, method, make_model(), data, plan=plan, on_step=on_step, max_grad_norm=limit
    ).train()
    _, grads = one_step(tmp_path, method, data, range(6), model=make_model())
    norm = torch.stack([g.norm() for g in grads.values()]).norm().item()
    assert rows[0]["grad/norm"] == pytest.approx(norm, rel=1e-4) and norm > 1e-2


def test_response_tokens_are_counted_on_both_kinds_of_data(tmp_path, monkeypatch):
    from tiebreak.engine import trainer as module

    for labelled in (False, True):
        tokens, speeds = make_tokens(6, labelled=labelled), []
        data = make_data(tokens, make_model(), METHODS["kto"]())
        on_step = lambda step, row, speed, seen=speeds: seen.append(speed)  # noqa: E731
        plan = BatchPlan((tuple(range(6)),))
        clock = iter(range(0, 10**6, 2))
        monkeypatch.setattr(module.time, "perf_counter", lambda clock=clock: float(next(clock)))
        make_trainer(
            tmp_path, METHODS["kto"](), make_model(), data, plan=plan, on_step=on_step
        ).train()
        total = sum(len(r) for row in tokens.responses for r in row)
        assert speeds[0]["response_tokens/s"] * speeds[0]["seconds"] == pytest.approx(total)
        assert speeds[0]["pairs/s"] * speeds[0]["seconds"] == pytest.approx(6)


@pytest.mark.parametrize("cause", ["loss", "gradient"])
def test_nan_stops_the_run_and_keeps_the_last_checkpoint(tmp_path, cause, monkeypatch):
    from tiebreak.engine.checkpoints import last_checkpoint

    method, rows = METHODS["dpo"](), []
    data = make_data(make_tokens(12), make_model(), method)
    trainer = make_trainer(
        tmp_path, method, make_model(), data, checkpoint_every=1, epochs=2,
        on_step=lambda step, row, speed: rows.append(step),
    )  # fmt: skip
    poison(trainer, cause, at=3, monkeypatch=monkeypatch)
    with pytest.raises(TrainingFailed, match=f"{cause} became nan at step 3"):
        trainer.train()
    assert rows == [1, 2]
    kept = last_checkpoint(tmp_path)
    assert kept is not None and kept.name == "checkpoint-2"


def poison(trainer, cause: str, at: int, monkeypatch) -> None:
    """At step `at`: NaN reference log-probs, or a NaN in one gradient."""
    plain = trainer.backward

    def backward(rows, step):
        now = step == at
        if now and cause == "loss":
            old = trainer.scorer.data
            table = old.reference
            bad = ReferenceTable(table.values * float("nan"), table.starts, table.first)
            trainer.scorer.data = dataclasses.replace(old, reference=bad)
        row = plain(rows, step)
        if now and cause == "gradient":
            next(trainer.model.parameters()).grad[0, 0] = float("nan")
        return row

    monkeypatch.setattr(trainer, "backward", backward)


def test_positions_are_counted(tmp_path):
    """Without padding, a pair costs one position less than its unique tokens."""
    method, tokens = METHODS["dpo"](), make_tokens(4)
    data = make_data(tokens, make_model(), method)
    row, _ = one_step(tmp_path, method, data, [1], budget=1)
    unique = len(tokens.prompts[1]) + sum(len(r) for r in tokens.responses[1])
    assert row["positions/unique_token"] == pytest.approx((unique - 1) / unique)


def test_more_processes_than_rows_is_refused(tmp_path, monkeypatch):
    data = make_data(make_tokens(4), make_model(), METHODS["dpo"]())
    monkeypatch.setattr(processes, "join", lambda: None)
    monkeypatch.setattr(processes, "world_size", lambda: 5)
    with pytest.raises(UserError, match="4 rows cannot be shared by 5 processes"):
        make_trainer(tmp_path, METHODS["dpo"](), make_model(), data, batch_size=4)


@pytest.mark.parametrize(
    ("text", "step", "kept"),
    [
        ('{"step": 1}\n{"step": 2}\n{"step": 3}\n', 2, 2),
        ('{"step": 1}\n{"step": 2}\n{"st', 3, 2),  # torn by a kill
        ('{"step": 1}\n', 0, 0),
        ("", 0, 0),
    ],
)
def test_a_log_is_cut_back_to_its_checkpoint(
    text: str, step: int, kept: int, tmp_path: Path
) -> None:
    path = tmp_path / "metrics.jsonl"
    assert whole_lines(path, step) == []
    path.write_text(text)
    assert len(whole_lines(path, step)) == kept
