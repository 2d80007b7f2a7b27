"""DiscoPOP: the log-ratio modulated loss (LRML), found by a language model.

    loss = (1 - g) * ( -log sigmoid( beta * h ) ) + g * exp( -beta * h )
    g = sigmoid( beta * h / tau )

Paper: Lu et al. 2024, arXiv 2406.08414, equation 5 and table 1 (LRML).
Official code: SakanaAI/DiscoPOP, `scripts/plotting/plot_beta_sweep.py`.

Convention: log-probs are token sums. The gate takes beta * h / tau; one plotting script of the
authors takes h, the same at their beta = tau = 0.05. tau is at most 1: above, the loss grows
without bound as exp of a wrong margin. Implicit reward: beta * drift.
Training: the authors' recipe uses a learning rate of 5e-7, two epochs, Zephyr-Gemma on DPO-Mix.

Fixes: nothing by design; it was picked for its scores. Its two turning points treat nearly tied
pairs apart, which the paper relates to noisy labels.
Watch: `reward/margin` and `reward/accuracy` early on: at the start the slope has the wrong sign.
Fails: at the defaults the loss RISES with h from -2.4 to 1.4 nats, and every pair starts at 0. A
pair that the others' updates do not carry past 1.4 is pulled to -2.4, the wrong order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, log_sigmoid


@dataclass(frozen=True)
class DiscoPOP(DriftRewards):
    name = "discopop"
    summary = "a gate between logistic and exponential loss, found by search"
    start_loss = "0.5 * (1 + ln 2)"

    beta: float = hyperparameter(
        0.05, "2406.08414; DiscoPOP `config_full.yaml`", above=0, search=[0.025, 0.05, 0.1]
    )
    tau: float = hyperparameter(0.05, "2406.08414; TRL", above=0, at_most=1)

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 5, one loss per pair."""
        logit_B = self.beta * pairs.drift_margin()
        logistic_B = (-logit_B / self.tau).sigmoid() * -log_sigmoid(logit_B)
        exponential_B = (log_sigmoid(logit_B / self.tau) - logit_B).exp()  # one exp: no overflow
        return logistic_B + exponential_B

    def loss_at_start(self) -> float | None:
        return 0.5 * (1 + math.log(2))
