"""RSO: statistical rejection sampling optimisation, its hinge-norm loss.

    loss = max(0, 1 - gamma * h),   h = drift_chosen - drift_rejected

Paper: Liu et al. 2023, arXiv 2309.06657, the hinge-norm loss (its sigmoid-norm loss is DPO's).
Official code: none; huggingface/trl has the loss as `loss_type="hinge"`.

Convention: drifts are token sums; gamma is DPO's beta. Only the loss is here: the paper draws 64
candidates from the SFT model, keeps 8 by rejection sampling with a reward model, and pairs those.
On pairs from elsewhere this is a hinge DPO, and should be reported as one. TRL cites SLiC for it;
SLiC-HF has no reference (see slic). Implicit reward: gamma * drift.
Training: T5 models, gamma 0.05, sampling temperature 0.5; the rest not seen.

Fixes: SLiC's hinge knows no reference, so a margin the start model already had counts as learnt.
And pairs drawn from the start model miss where the better policy puts its answers.
Watch: `reward/margin`: a pair beyond 1 has no gradient left. `drift/chosen` may fall as in DPO.
Fails: with gamma 0.05 a pair must move 20 nats, so short answers are driven far from the reference;
once all pairs are past the hinge, training stops silently.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import Method, hyperparameter
from tiebreak.methods.responses import Pairs, Responses, Tensor


@dataclass(frozen=True)
class RSO(Method):
    name = "rso"
    summary = "hinge loss on the difference of drifts"
    start_loss = "1"

    gamma: float = hyperparameter(
        0.05, "2309.06657, as TRL's paper index has it", above=0, search=[0.01, 0.05, 0.1]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) the hinge-norm loss, one per pair."""
        return (1 - self.gamma * pairs.drift_margin()).relu()

    def reward(self, responses: Responses) -> Tensor:
        """(B,) gamma * drift."""
        return self.gamma * responses.drift()
