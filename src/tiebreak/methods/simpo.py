"""SimPO: simple preference optimisation with a reference-free reward.

    loss = -log sigmoid( beta * (mean_logp_chosen - mean_logp_rejected) - gamma )

Paper: Meng et al. 2024, arXiv 2405.14734, equation 6.
Official code: princeton-nlp/SimPO, `scripts/simpo_trainer.py`.

Convention: log-probs are means per response token. gamma is the paper's: it stands beside beta,
not inside it. The official code and its configs write `gamma_beta_ratio` = gamma / beta (a start
of 0.5 there is gamma = 0.5 * beta here). No reference. Implicit reward: beta * mean log-prob.
Training: the paper tunes the learning rate from 3e-7 to 1e-6; batch 128, one epoch, cosine.

Fixes: DPO's reward is a ratio to a reference that generation never sees, and a sum that grows
with length; here the reward is what sampling maximises, per token, and needs no second model.
Watch: `logp/chosen` may fall far while `reward/margin` grows; `length/generated` should stay near
the start model's.
Fails: nothing holds the policy near its start. A learning rate a few times too high gives
repetitive or broken text while the loss still looks good.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import Method, Needs, hyperparameter
from tiebreak.methods.responses import Pairs, Responses, Tensor, log_sigmoid


@dataclass(frozen=True)
class SimPO(Method):
    name = "simpo"
    summary = "logistic loss on mean log-probs with a target margin"
    needs = Needs(reference=False)

    beta: float = hyperparameter(
        2.0, "2405.14734 section 3 (2.0 to 2.5)", above=0, search=[2.0, 2.5, 10.0]
    )
    gamma: float = hyperparameter(
        1.0, "2405.14734; gamma / beta = 0.5", at_least=0, search=[0.3, 0.5, 1.0, 1.2, 1.4, 1.6]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 6, one loss per pair."""
        margin_B = pairs.chosen.mean_logp() - pairs.rejected.mean_logp()
        return -log_sigmoid(self.beta * margin_B - self.gamma)

    def reward(self, responses: Responses) -> Tensor:
        """(B,) beta * mean log-prob."""
        return self.beta * responses.mean_logp()
