"""SPIN: self-play fine-tuning.

    loss = -log sigmoid( beta * (drift_chosen - drift_rejected) )
    chosen: a human answer; rejected: the previous iterate's own answer to the same prompt

Paper: Chen et al. 2024, arXiv 2401.01335, equation 4.7 with the logistic loss.
Official code: uclaml/SPIN, `spin/alignment/trainer.py`.

Convention: the loss is DPO's, on token sums; the paper writes beta as lambda. What differs is the
data: the rejected responses are samples of the previous iterate, and that iterate is the reference
of the round. This file is the loss of one round; generate, then align with the last round's model
as the start. On other pairs it is DPO under another name. Implicit reward: beta * drift.
Training: 5e-7 in the first two rounds, then 1e-7; RMSprop, batch 64, 10% warm-up, 2 epochs per
round, 50k prompts; beta 0.1, and 5 in the last round. The repository's launch scripts differ.

Fixes: SFT stops at likelihood; here the model learns to tell its own answers from human ones, with
no preference labels, until it cannot.
Watch: `reward/margin` of each round: when own samples look like the data it has nothing to learn.
`length/generated` and `drift/chosen` show style drift between rounds.
Fails: it cannot be better than the SFT data. Model and human answers differ in style before
quality, so the early gradient is about form; a late round with weak beta can undo the ones before.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, log_sigmoid


@dataclass(frozen=True)
class SPIN(DriftRewards):
    name = "spin"
    summary = "logistic loss on drifts, against samples of the previous iterate"
    start_loss = "ln 2"

    beta: float = hyperparameter(
        0.1, "2401.01335 (5 in its last round)", above=0, search=[0.1, 1.0, 5.0]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 4.7, one loss per pair."""
        return -log_sigmoid(self.beta * pairs.drift_margin())
