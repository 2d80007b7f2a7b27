"""TDPO: token-level direct preference optimisation, tdpo1 and tdpo2.

    tdpo1: -log sigmoid( beta * (h - (K_rejected - K_chosen)) )
    tdpo2: -log sigmoid( beta * (h - alpha * (K_rejected - stop_gradient(K_chosen))) )
    h = drift_chosen - drift_rejected
    K = sum over the response's tokens of KL(reference || policy) over the vocabulary

Paper: Zeng et al. 2024, arXiv 2404.11999, equation 15 (tdpo1) and equation 17 (tdpo2).
Official code: Vance0124/Token-level-Direct-Preference-Optimization, `trainers.py`.

Convention: drift and K are token sums. K is the forward KL, taken at each prefix of the given
response, not at sampled ones; it carries gradient, but for K_chosen in tdpo2. The code's flag
`if_tdpo2` is off since July 2024, so its commands as printed train tdpo1. Implicit reward here:
beta * drift, to compare with DPO; the official code logs beta * (drift + K).
Training: RMSprop, learning rate 5e-6, warm-up 150 steps, batch 64.

Fixes: in DPO the KL to the reference grows faster on rejected responses than on chosen ones; the
KL terms hold that gap. tdpo2 stops the gradient that would raise K_chosen to lower the loss.
Watch: `kl/reference` against DPO at the same `reward/margin`; `entropy` should fall less.
Fails: the loss needs the reference's full distribution in every step, so it costs a second
forward pass. A large alpha leaves the policy close to the reference and the margin small.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, Needs, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, log_sigmoid


@dataclass(frozen=True)
class TDPO1(DriftRewards):
    name = "tdpo1"
    summary = "DPO minus the gap of token-level forward KLs"
    needs = Needs(forward_kl=True)
    start_loss = "ln 2"

    beta: float = hyperparameter(
        0.1, "official `config/loss/tdpo.yaml`", above=0, search=[0.1, 0.3, 0.5]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 15, one loss per pair."""
        kl_gap_B = pairs.rejected.total_kl() - pairs.chosen.total_kl()
        return -log_sigmoid(self.beta * (pairs.drift_margin() - kl_gap_B))


@dataclass(frozen=True)
class TDPO2(TDPO1):
    name = "tdpo2"
    summary = "DPO minus a weighted KL gap; no gradient through the chosen KL"

    alpha: float = hyperparameter(
        0.5, "official `config/loss/tdpo.yaml`", at_least=0, search=[0.1, 0.3, 0.5, 0.7, 1.0]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 17, one loss per pair."""
        kl_gap_B = pairs.rejected.total_kl() - pairs.chosen.total_kl().detach()
        return -log_sigmoid(self.beta * (pairs.drift_margin() - self.alpha * kl_gap_B))
