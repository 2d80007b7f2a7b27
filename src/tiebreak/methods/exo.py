"""EXO: efficient exact optimisation, on pairs.

    loss = q * log( q / (1 - label_smoothing) ) + (1 - q) * log( (1 - q) / label_smoothing )
    q = sigmoid( beta * h )

Paper: Ji et al. 2024, arXiv 2402.00856, equation 16 for two responses.
Official code: haozheji/exact-optimization, `src/align_stage/loss.py`.

Convention: log-probs are token sums. The loss is KL(policy || labels); DPO's is the KL in the
other direction. The labels here sum to 1, as in equation 16 and TRL; the authors' code takes
log-labels 0 and -10, which is label_smoothing = 4.5e-5 up to terms as small as that. beta is the
paper's beta_pi. Implicit reward: beta * drift.
Training: the authors' scripts use a learning rate of 1e-6, and beta 0.1 on IMDb, 0.5 on HH and
TL;DR.

Fixes: DPO's direction of the KL covers all that the labels allow; this one seeks what they
prefer. The loss is least at a finite margin, beta * h = log(1 / label_smoothing - 1).
Watch: `reward/margin` should level off near that value (6.9 at the default).
Fails: a pair with beta * h far below 0 has almost no gradient, so pairs that start in the wrong
order by a wide margin stay there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, log_sigmoid


@dataclass(frozen=True)
class EXO(DriftRewards):
    name = "exo"
    summary = "KL from the policy's preference to smoothed labels (DPO's reversed)"
    start_loss = "-ln 2 - 0.5 * ln(label_smoothing * (1 - label_smoothing))"

    beta: float = hyperparameter(
        0.1, "exact-optimization `imdb_exp`; TRL", above=0, search=[0.1, 0.5]
    )
    label_smoothing: float = hyperparameter(
        1e-3, "2402.00856, as TRL reports it", above=0, below=0.5, search=[5e-05, 0.001, 0.01]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 16, one loss per pair."""
        logit_B = self.beta * pairs.drift_margin()
        log_q_B, log_not_q_B = log_sigmoid(logit_B), log_sigmoid(-logit_B)
        kept_B = logit_B.sigmoid() * (log_q_B - math.log1p(-self.label_smoothing))
        return kept_B + (-logit_B).sigmoid() * (log_not_q_B - math.log(self.label_smoothing))

    def loss_at_start(self) -> float | None:
        return -math.log(2) - 0.5 * (
            math.log(self.label_smoothing) + math.log1p(-self.label_smoothing)
        )
