"""DPOP: DPO-Positive, DPO that is punished when the chosen response becomes less likely.

    v2 (default): loss = -log sigmoid( beta * (h - penalty_weight * max(0, -drift_chosen)) )
    v1:           loss = -log sigmoid( beta * h ) + penalty_weight * max(0, -drift_chosen)
    h = drift_chosen - drift_rejected

Paper: Pal et al. 2024 (Smaug), arXiv 2402.13228, equation 3.
Official code: none; abacusai/smaug has data only, and its issue 2 the debate about the sign.

Convention: drifts are token sums. The paper has two forms: version 1 (February 2024) printed the
penalty beside the log-sigmoid, version 2 (July 2024) moved it inside beta, after users had
asked in issue 2. With drift_chosen = -0.1, drift_rejected = 0, beta = 0.3, penalty_weight = 50 the
loss is 1.726 (v2) or 5.708 (v1). Implicit reward: beta * drift, without the penalty, so that chosen
and rejected are measured alike.
Training: 5e-5, AdamW, 1000 steps on Mistral-7B (from a secondary source); ablations beta 0.1 to 1.

Fixes: DPO may lower the chosen response as long as the rejected one falls faster, above all in
near-identical pairs. Here a chosen response below its reference costs more than the margin gains.
Watch: `drift/chosen` stays at or above 0 and `displaced/share` near 0, or the penalty is too weak.
Fails: token sums make the penalty large: at 50 one nat below the reference outweighs 50 nats of
margin, and learning turns into imitation of the chosen text. In v1 it pulls with 50 per nat at any
distance, beside at most beta from the margin: users saw exploding losses.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, log_sigmoid


@dataclass(frozen=True)
class DPOP(DriftRewards):
    name = "dpop"
    summary = "logistic loss, with a penalty where the chosen is below the reference"
    start_loss = "ln 2"

    beta: float = hyperparameter(
        0.3, "2402.13228 (ablated 0.1, 0.3, 1)", above=0, search=[0.1, 0.3, 1.0]
    )
    penalty_weight: float = hyperparameter(
        50.0, "2402.13228 (lambda; ablated 5, 50, 500)", at_least=0, search=[5.0, 50.0, 500.0]
    )
    version: str = hyperparameter(
        "v2", "2402.13228: v2 July 2024; v1 as first printed", options=("v2", "v1")
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 3, one loss per pair."""
        h_B = pairs.drift_margin()
        penalty_B = self.penalty_weight * (-pairs.chosen.drift()).relu()
        if self.version == "v1":
            return -log_sigmoid(self.beta * h_B) + penalty_B
        return -log_sigmoid(self.beta * (h_B - penalty_B))
