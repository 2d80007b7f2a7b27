"""The check before the first update: silent on the right reference, in words on a wrong one."""

from __future__ import annotations

import pytest
import torch
from tiny import make_data, make_model, make_tokens, make_trainer, moved

from tiebreak.engine.batches import BatchPlan
from tiebreak.engine.reference import ReferenceTable
from tiebreak.engine.scorer import TrainingData
from tiebreak.engine.trainer import check_start
from tiebreak.errors import UserError
from tiebreak.methods import METHODS

ONE = BatchPlan((tuple(range(6)),))


def first_step(tmp_path, method, data, **changes):
    trainer = make_trainer(tmp_path, method, make_model(), data, plan=ONE, **changes)
    trainer.train()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_silent_on_the_right_reference(tmp_path, name, precision):
    from tiebreak.engine.models import autocast

    method = METHODS[name]()
    with autocast(precision):
        data = make_data(make_tokens(8), make_model(), method)
    first_step(tmp_path, method, data, precision=precision)


@pytest.mark.parametrize("name", ["dpo", "ipo", "kto"])
def test_refuses_the_log_probs_of_another_model(tmp_path, name):
    method = METHODS[name]()
    data = make_data(make_tokens(8), moved(make_model(), scale=0.05), method)
    with pytest.raises(UserError, match="before the first update .* must be .* wrong reference"):
        first_step(tmp_path, method, data)


def test_refuses_a_table_a_little_off(tmp_path):
    """0.001 nats on every token: far below what a loss curve would show."""
    method, tokens = METHODS["dpo"](), make_tokens(8)
    good = make_data(tokens, make_model(), method).reference
    off = ReferenceTable(good.values + 1e-3, good.starts, good.first)
    about = r"-0\.00(0999\d*|100\d*|1)"  # its last digits are rounding
    with pytest.raises(UserError, match=f"drift/chosen_per_token must be 0 and is {about}:"):
        first_step(tmp_path, method, TrainingData(tokens, off))


def test_refuses_rows_out_of_order(tmp_path):
    method, tokens = METHODS["dpo"](), make_tokens(8)
    good = make_data(tokens, make_model(), method).reference
    shifted = ReferenceTable(torch.roll(good.values, 1), good.starts, good.first)
    with pytest.raises(UserError, match="wrong reference"):
        first_step(tmp_path, method, TrainingData(tokens, shifted))


def test_the_loss_itself_is_checked():
    """Even where drifts cancel: a loss of 0.7 is not ln 2."""
    fine = {"drift/chosen_per_token": 0.0, "drift/rejected_per_token": 0.0, "loss": 0.6931472}
    check_start(METHODS["dpo"](), fine, "float32")
    with pytest.raises(UserError, match="loss must be 0.693147 and is 0.9"):
        check_start(METHODS["dpo"](), {**fine, "loss": 0.9}, "float32")
    check_start(METHODS["cpo"](), {"loss": 123.0}, "float32")


def test_not_a_number_does_not_pass_for_zero():
    with pytest.raises(UserError, match="nan"):
        check_start(METHODS["cpo"](), {"drift/chosen_per_token": float("nan")}, "float32")


def test_dropout_left_on_would_be_refused_or_is_off(tmp_path):
    """The trainer switches attention dropout off; with it on the drift would not vanish."""
    method = METHODS["dpo"]()
    data = make_data(make_tokens(8), make_model(), method)
    model = make_model(attention_dropout=0.5)
    make_trainer(tmp_path, method, model, data, plan=ONE).train()
