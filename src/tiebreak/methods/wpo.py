"""WPO: weighted preference optimisation.

    loss = weight * -log sigmoid( beta * (drift_chosen - drift_rejected) )
    weight = min(1, w_chosen * w_rejected), without gradient
    w = exp( mean over the response's tokens of (logp of the token - log sum_v p(v)^2) )

Paper: Zhou et al. 2024, arXiv 2406.11827, equation 2.
Official code: wzhouad/WPO, `scripts/run_wpo.py`.

Convention: drift is a token sum, the weight's exponent a token mean under the policy in training.
sum_v p(v)^2 is the mean probability of a token that the policy samples itself, so a response as
likely as the policy's own has a weight near 1. The product is clamped at 1, once, as in the
authors' code; TRL does not clamp, and open-instruct leaves out sum_v p(v)^2. Implicit reward:
beta * drift.
Training: batch 128, cosine, warm-up 0.1; 5e-7 and one epoch (Mistral), 1e-6 and two (Llama 3).

Fixes: pairs written by other models are unlikely under the policy; their weight is small, which
brings off-policy data closer to on-policy data.
Watch: the loss falls with the weights too, so read `reward/margin`; `logp/chosen` and
`logp/rejected` per token say how small the weights are.
Fails: on data far from the policy nearly all weights are small and training is slow: compare at a
tuned learning rate. A pair whose likelihood falls in training loses weight with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, Needs, hyperparameter
from tiebreak.methods.responses import Pairs, Responses, Tensor, log_sigmoid


@dataclass(frozen=True)
class WPO(DriftRewards):
    name = "wpo"
    summary = "DPO, each pair weighted by its probability under the policy"
    needs = Needs(collision=True)
    start_loss = "ln 2 times the pair's weight, so at most ln 2"

    beta: float = hyperparameter(
        0.01, "2406.11827 section 4; official configs", above=0, search=[0.01, 0.05, 0.1]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 2, one loss per pair."""
        return self.weight(pairs) * -log_sigmoid(self.beta * pairs.drift_margin())

    def weight(self, pairs: Pairs) -> Tensor:
        """(B,) in [0, 1], without gradient."""
        log_weight_B = _log_weight(pairs.chosen) + _log_weight(pairs.rejected)
        return log_weight_B.clamp(max=0).exp()


def _log_weight(response: Responses) -> Tensor:
    """(B,) log w: mean over tokens of log-prob minus log sum of squared probabilities."""
    if response.collision is None:
        raise ValueError("wpo needs collision; build Responses with collision=")
    return response.mean(response.policy.detach() - response.collision)
