"""KTO: Kahneman-Tversky optimisation.

    desirable:   lambda_D * (1 - sigmoid( beta * (drift - z0) ))
    undesirable: lambda_U * (1 - sigmoid( beta * (z0 - drift) ))
    z0 = max(0, mean drift of mismatched responses), without gradient

Paper: Ethayarajh et al. 2024, arXiv 2402.01306, equations 7 and 8 (z0: section 4.1).
Official code: ContextualAI/HALOs, `config/loss/kto.yaml`.

Convention: log-probs are token sums. beta multiplies drift and z0 alike, as in TRL. z0 is one
number for the whole optimiser batch, over all ranks, clamped once; the mismatched response of a
row is a response to another prompt, fixed by the data. Both halves of a pair enter as two
examples, so classes are always mixed. Implicit reward: beta * drift.
Training: 5e-6 is advised (2 to 10 times DPO's rate), AdamW, batch 32, at least 8; beta 0.01 to 0.1
after SFT on the same data, more on an aligned model.

Fixes: pairs are dear; a thumb up or down on one answer is enough here. A gain far beyond z0 and a
loss far below it count no further, so outliers and wrong labels pull less than in DPO.
Watch: `kl/mismatched` is z0 before its clamp: below 0 the reference point is idle. `drift/chosen`
should be above `drift/rejected`; `displaced/share` as in DPO.
Fails: unbalanced classes: keep desirable_weight * desirable / (undesirable_weight * undesirable)
between 1 and 1.5. A small batch makes z0 noisy. Undesirable answers far below z0 and desirable ones
far above it give no gradient, and neither do those on the wrong side by as much.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, Needs, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, concatenate


@dataclass(frozen=True)
class KTO(DriftRewards):
    name = "kto"
    summary = "prospect-theoretic loss on single labelled responses"
    needs = Needs(mismatched=True, unpaired=True, whole_batch=("mismatched",), unit="response")
    start_loss = "0.5 * (lambda_D or lambda_U of the response)"

    beta: float = hyperparameter(
        0.1, "2402.01306 v5; HALOs `kto.yaml`", above=0, search=[0.01, 0.05, 0.1]
    )
    desirable_weight: float = hyperparameter(
        1.0, "2402.01306 (lambda_D)", above=0, search=[1.0, 1.25, 1.5]
    )
    undesirable_weight: float = hyperparameter(
        1.0, "2402.01306 (lambda_U)", above=0, search=[1.0, 1.25, 1.5]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B_chosen + B_rejected,) one loss per response: desirable first, then undesirable."""
        z0 = self.reference_point(pairs)
        chosen_B = 1 - (self.beta * (pairs.chosen.drift() - z0)).sigmoid()
        rejected_B = 1 - (self.beta * (z0 - pairs.rejected.drift())).sigmoid()
        return concatenate(self.desirable_weight * chosen_B, self.undesirable_weight * rejected_B)

    def reference_point(self, pairs: Pairs) -> Tensor:
        """z0, a scalar without gradient (nats)."""
        mismatched = pairs.batch().mismatched
        if mismatched is None:
            raise ValueError("KTO needs mismatched responses; build Pairs with mismatched=")
        return mismatched.drift().mean().clamp(min=0).detach()

    def loss_at_start(self) -> float | None:
        """The mean loss when policy and reference are equal; known when both weights agree."""
        same = self.desirable_weight == self.undesirable_weight
        return 0.5 * self.desirable_weight if same else None
