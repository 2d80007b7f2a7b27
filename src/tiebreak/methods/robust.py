"""Robust DPO (rDPO): DPO with an unbiased loss under flipped labels.

    loss = ( - (1 - e) * log sigmoid(beta * h) + e * log sigmoid(-beta * h) ) / (1 - 2 e)
    h = drift_chosen - drift_rejected,   e = label_smoothing

Paper: Ray Chowdhury et al. 2024, arXiv 2403.00409, the robust loss of section 3.
Official code: none seen; huggingface/trl has it as `loss_type="robust"`.

Convention: drifts are token sums. label_smoothing is the rate at which labels are flipped; averaged
over flips of that rate the loss equals DPO's on the true labels. Not R-DPO, which is about length
(see rdpo). Implicit reward: beta * drift.
Training: 1e-3, batch 16, 512 tokens at most, beta 0.1, in TRL's index of the paper's appendix B.

Fixes: label smoothing (cdpo) only shrinks the margin, so noise still shifts what is learnt; here
the expected loss, and so its gradient, is that of clean labels.
Watch: the loss goes below 0; that is no error. `reward/margin` grows as in DPO or faster.
Fails: it has no floor: a pair's gradient never drops below beta * e / (1 - 2 e), so margins grow
without end and `drift/rejected` with them. Near e = 0.5 the division blows up the variance.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, log_sigmoid


@dataclass(frozen=True)
class RobustDPO(DriftRewards):
    name = "robust"
    summary = "logistic loss on drifts that is unbiased under flipped labels"
    start_loss = "ln 2"

    beta: float = hyperparameter(0.1, "2403.00409 App. B", above=0, search=[0.01, 0.05, 0.1])
    label_smoothing: float = hyperparameter(
        0.1, "2403.00409 (epsilon); TRL", at_least=0, below=0.5, search=[0.1, 0.2, 0.3]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) the robust loss, one per pair."""
        e, logit_B = self.label_smoothing, self.beta * pairs.drift_margin()
        as_labelled_B, flipped_B = -log_sigmoid(logit_B), -log_sigmoid(-logit_B)
        return ((1 - e) * as_labelled_B - e * flipped_B) / (1 - 2 * e)
