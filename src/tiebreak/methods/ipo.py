"""IPO: identity preference optimisation.

    loss = ( h - 1 / (2 tau) )^2,   h = drift_chosen - drift_rejected

Paper: Azar et al. 2023, arXiv 2310.12036, equation 17.
Official code: none by the authors; eric-mitchell/direct-preference-optimization has a copy.

Convention: sources disagree on h. `reduction="mean"` (default) takes the drift per token, as
TRL and HALOs do; TRL's comment reports that the authors confirmed averaging, and TRL is what the
comparison studies ran. `reduction="sum"` takes the drift of the whole response, as the paper
writes it. At the same tau the two aim at margins that differ by the response length.
Implicit reward: the drift that enters h, without a factor.
Training: the paper has bandits only (1e-2, batch 90, 18,000 Adam steps). On language models tau
from 0.01 to 1 is searched, with DPO's learning rates.

Fixes: with certain or few labels DPO's margin grows without end and the reference loses its hold;
here the margin has a target, 1 / (2 tau), and overshooting costs as much as falling short.
Watch: `reward/margin` should settle at 1 / (2 tau): 5 at 0.1, per token by default. `drift/chosen`
and `drift/rejected` may both fall on the way there.
Fails: the target is the same for clear and doubtful pairs. Per token, 5 nats is out of reach for
most pairs, so a small tau pulls at all of them at once with a large gradient; the loss starts at
1 / (4 tau^2), so losses at two values of tau do not compare.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import Method, hyperparameter
from tiebreak.methods.responses import Pairs, Responses, Tensor


@dataclass(frozen=True)
class IPO(Method):
    name = "ipo"
    summary = "squared distance of the drift margin from 1 / (2 tau)"
    start_loss = "1 / (4 tau^2)"

    tau: float = hyperparameter(
        0.1, "HALOs `ipo.yaml`; SimPO protocol", above=0, search=[0.01, 0.1, 0.5, 1.0]
    )
    reduction: str = hyperparameter(
        "mean", "mean: TRL, HALOs; sum: 2310.12036 Eq. 17", options=("mean", "sum")
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 17, one loss per pair."""
        h_B = self.reward(pairs.chosen) - self.reward(pairs.rejected)
        return (h_B - 1 / (2 * self.tau)) ** 2

    def reward(self, responses: Responses) -> Tensor:
        """(B,) the drift in the chosen reduction."""
        return responses.drift() if self.reduction == "sum" else responses.mean_drift()

    def loss_at_start(self) -> float | None:
        return 1 / (4 * self.tau**2)
