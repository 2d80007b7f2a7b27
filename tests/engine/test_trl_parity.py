"""The core set against stock TRL: the same batch gives the same loss and gradients.

Importing TRL takes most of this file's time. The other methods: `test_trl_parity_more.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
from tiny import VOCAB, make_data, score_table
from trl_oracles import (
    NUM,
    SETTINGS,
    assert_equal,
    cpo_trainer,
    dpo_trainer,
    pairs_of,
    policy_model,
    spans,
    start_model,
    texts,
    theirs,
)

from tiebreak.data.tokens import Tokens
from tiebreak.engine.scorer import TrainingData
from tiebreak.methods import METHODS


@pytest.mark.parametrize(
    ("method", "config"),
    [(METHODS["dpo"](beta=0.1), {"loss_type": ["sigmoid"], "beta": 0.1}),
     (METHODS["dpo"](beta=0.7), {"loss_type": ["sigmoid"], "beta": 0.7}),
     (METHODS["ipo"](tau=0.5), {"loss_type": ["ipo"], "beta": 0.5})],
    ids=["dpo 0.1", "dpo 0.7", "ipo mean"],
)  # fmt: skip
def test_dpo_and_ipo(tmp_path, tokenizer, method, config):
    trainer = dpo_trainer(tmp_path, tokenizer, **config)
    expected = theirs(trainer)
    tokens = pairs_of(expected[2])
    assert min(len(r) for row in tokens.responses for r in row) <= 2
    assert_equal(expected, method, make_data(tokens, start_model(), method), tmp_path)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.4, 0.6)])
def test_kto_on_mixed_unpaired_rows(tmp_path, tokenizer, weights):
    from trl import KTOConfig, KTOTrainer

    settings = {"beta": 0.3, "desirable_weight": weights[0], "undesirable_weight": weights[1]}
    trainer = KTOTrainer(
        model=policy_model(),
        ref_model=start_model(),
        args=KTOConfig(output_dir=str(tmp_path), **SETTINGS, **settings),
        train_dataset=texts("unpaired"),
        processing_class=tokenizer,
    )
    expected = theirs(trainer)
    method = METHODS["kto"](**settings)
    data = kto_data(expected[2], method)
    assert_equal(expected, method, data, tmp_path)


def kto_data(batch: dict[str, Any], method: Any) -> TrainingData:
    """TRL's rows, labels and its own KL completions, in our terms."""
    rows = spans(batch["input_ids"], batch["attention_mask"], batch["completion_mask"])
    others = spans(batch["KL_input_ids"], batch["KL_attention_mask"], batch["KL_completion_mask"])
    assert [p for p, _ in rows] == [p for p, _ in others]
    responses = [r for _, r in rows]
    labels = [bool(label) for label in batch["label"]]
    assert 0 < sum(labels) < NUM, "both classes in one batch"
    prompts = [p for p, _ in rows]
    tokens = Tokens([str(i) for i in range(NUM)], prompts, [(r,) for r in responses], labels)
    partners = [(responses.index(r), 0) for _, r in others]
    assert all(row != other for row, (other, _) in enumerate(partners))
    ours = make_data(tokens, start_model(), method)
    theirs_too = TrainingData(tokens, ours.reference, partners)
    branches = [theirs_too.mismatched_branches(row) for row in range(NUM)]
    return TrainingData(tokens, ours.reference, partners, score_table(start_model(), branches))


@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_cpo_with_the_batch_nll(tmp_path, tokenizer, alpha):
    expected = theirs(cpo_trainer(tmp_path, tokenizer, beta=0.2, cpo_alpha=alpha))
    method = METHODS["cpo"](beta=0.2, alpha=alpha, nll="batch")
    data = make_data(pairs_of(expected[2]), start_model(), method)
    assert_equal(expected, method, data, tmp_path)


def test_the_tokenizer_fits_the_model(tokenizer):
    assert len(tokenizer) <= VOCAB
