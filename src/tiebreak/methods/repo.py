"""RePO: ReLU-based preference optimisation.

    loss = max( 0, gamma - (mean_logp_chosen - mean_logp_rejected) )

Paper: Wu et al. 2025, arXiv 2503.07426, equations 5 and 6.
Official code: junkangwu/RePO, `scripts/simpo_trainer.py` (`loss_type: repo`).

Convention: log-probs are means per response token. gamma is in nats per token and beside no beta:
it is SimPO's gamma / beta (`gamma_beta_ratio` in the authors' configs; the beta there only scales
what is logged). No reference. Implicit reward: mean log-prob.
Training: the paper tunes the learning rate from 3e-7 to 1e-6; batch 128, one epoch, cosine, and
takes gamma 0.4 for Mistral and Gemma, 0.6 for Llama 3, and recommends 0.5 as the default.

Fixes: SimPO has two linked hyper-parameters and keeps pushing pairs that are already apart; here
one threshold decides, and a pair beyond it has no gradient at all (SimPO as beta grows).
Watch: `reward/margin` against gamma; the share of pairs beyond gamma grows from 13 to 58 percent
in the paper's run at gamma 0.4. `logp/chosen` may still fall.
Fails: gamma near 1 keeps nearly every pair active and over-optimises; near 0 most pairs fall
silent early. Nothing holds the policy near its start.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import Method, Needs, hyperparameter
from tiebreak.methods.responses import Pairs, Responses, Tensor


@dataclass(frozen=True)
class RePO(Method):
    name = "repo"
    summary = "hinge on mean log-probs with a margin, without a reference"
    needs = Needs(reference=False)

    gamma: float = hyperparameter(
        0.5, "2503.07426 appendix D.1", at_least=0, at_most=1, search=[0.2, 0.4, 0.5, 0.6, 0.8]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 6, one loss per pair."""
        margin_B = pairs.chosen.mean_logp() - pairs.rejected.mean_logp()
        return (self.gamma - margin_B).relu()

    def reward(self, responses: Responses) -> Tensor:
        """(B,) mean log-prob."""
        return responses.mean_logp()
