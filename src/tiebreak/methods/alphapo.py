"""AlphaPO: SimPO with a reward whose shape is a hyper-parameter.

    loss = -log sigmoid( beta * (r_chosen - r_rejected) - gamma )
    r = (1 - exp( -alpha * mean_logp )) / alpha;  alpha = 0: r = mean_logp (SimPO)

Paper: Gupta et al. 2025, arXiv 2501.03884.
Official code: none; TRL has it in `trl/experimental/cpo` (`loss_type: alphapo`).

Convention: log-probs are means per response token; gamma stands beside beta, not inside it. The
default gamma is 0.1 * beta: the 0.1 that goes with beta 2.5 and alpha 0.25 is SimPO's gamma /
beta for Mistral, while TRL's index passes it as gamma itself (not checked against the paper's
table). Where the exponent -alpha * mean_logp passes 30 (mean_logp below -120 at the default
alpha) its exp goes on as a straight line of the same slope: finite, and never without gradient.
No reference. Implicit reward: beta * r.
Training: TRL lists a learning rate of 7e-7 for the paper's Mistral run.

Fixes: SimPO may lower chosen log-probs far. With alpha above 0 the reward falls faster than the
log-prob, so a pair is won, and its gradient gone, after a smaller move.
Watch: `logp/chosen` against a SimPO run: it should fall less for alpha above 0, more below 0.
Fails: a large alpha lets a few unlikely responses rule the batch: their gradient grows as
exp(-alpha * mean_logp). Nothing holds the policy near its start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tiebreak.methods.contract import Method, Needs, hyperparameter
from tiebreak.methods.responses import Pairs, Responses, Tensor, log_sigmoid

STRAIGHT_FROM = 30.0  # exponent from which exp goes on along its tangent


@dataclass(frozen=True)
class AlphaPO(Method):
    name = "alphapo"
    summary = "SimPO with a power of the mean probability as the reward"
    needs = Needs(reference=False)

    beta: float = hyperparameter(2.5, "2501.03884, as TRL lists it", above=0, search=[2.5, 10.0])
    gamma: float = hyperparameter(
        0.25, "2501.03884; gamma / beta = 0.1", at_least=0, search=[0.25, 0.5, 1.0, 2.5, 3.0]
    )
    alpha: float = hyperparameter(0.25, "2501.03884, as TRL lists it", search=[0.1, 0.25, 0.5])

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) SimPO's loss on shaped rewards, one loss per pair."""
        margin_B = self.shaped(pairs.chosen) - self.shaped(pairs.rejected)
        return -log_sigmoid(self.beta * margin_B - self.gamma)

    def reward(self, responses: Responses) -> Tensor:
        """(B,) beta * shaped reward."""
        return self.beta * self.shaped(responses)

    def shaped(self, responses: Responses) -> Tensor:
        """(B,) (1 - p^-alpha) / alpha, where p is the mean probability per token."""
        mean_logp_B = responses.mean_logp()
        if self.alpha == 0:
            return mean_logp_B
        exponent_B = -self.alpha * mean_logp_B
        beyond_B = math.exp(STRAIGHT_FROM) * (exponent_B - STRAIGHT_FROM).relu()
        return -(exponent_B.clamp(max=STRAIGHT_FROM).expm1() + beyond_B) / self.alpha
