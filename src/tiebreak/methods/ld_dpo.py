"""LD-DPO: length-desensitised DPO.

    loss = -log sigmoid( beta * (r_chosen - r_rejected) )
    r = drift of the first l tokens + alpha * drift of the tokens after them
    l = the shorter of the two responses' lengths

Paper: Liu et al. 2024, arXiv 2409.06411.
Official code: none; TRL has it as `ld_alpha`.

Convention: log-probs are token sums, the end-of-sequence token counts as a token, and policy and
reference are weighted alike, as in TRL. Only the longer response has tokens after l. alpha = 1 is
DPO; alpha = 0 drops the excess. Implicit reward: beta * r, so `reward/margin` is what the loss
sees and differs from beta * `drift/margin`.
Training: not verified; beta is DPO's usual 0.1. TRL's paper index names alpha 0.5 as the start.

Fixes: DPO's margin is a sum over tokens, so the longer response dominates it and length is
learned with the preference; here its excess counts less.
Watch: `length/generated` against DPO at the same `kl/reference`.
Fails: responses shorten even where length was wanted. With a small alpha the end of a long
rejected response, its end-of-sequence token included, hardly trains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tiebreak.methods.contract import Method, hyperparameter
from tiebreak.methods.responses import Pairs, Responses, Tensor, log_sigmoid


@dataclass(frozen=True)
class LDDPO(Method):
    name = "ld-dpo"
    summary = "DPO with the longer response's excess tokens weighted down"
    start_loss = "ln 2"

    beta: float = hyperparameter(
        0.1, "DPO's; 2409.06411's own not verified", above=0, search=[0.01, 0.05, 0.1]
    )
    alpha: float = hyperparameter(
        0.5, "TRL paper index", at_least=0, at_most=1, search={"low": 0.0, "high": 1.0}
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) DPO's loss on length-desensitised drifts, one per pair."""
        chosen_B, rejected_B = self.desensitised(pairs)
        return -log_sigmoid(self.beta * (chosen_B - rejected_B))

    def desensitised(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """(chosen (B,), rejected (B,)): drift with the excess weighted by alpha (nats)."""
        sides = pairs.chosen, pairs.rejected
        common_B = sides[0].length().minimum(sides[1].length())
        chosen_B, rejected_B = (
            self.alpha * side.drift() + (1 - self.alpha) * _first(side, common_B).drift()
            for side in sides
        )
        return chosen_B, rejected_B

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """(chosen (B,), rejected (B,)): beta * length-desensitised drift, detached."""
        chosen_B, rejected_B = self.desensitised(pairs)
        return self.beta * chosen_B.detach(), self.beta * rejected_B.detach()


def _first(response: Responses, length_B: Tensor) -> Responses:
    """The response cut after its first `length_B` tokens."""
    import torch

    place_T = torch.arange(response.policy.shape[1], device=response.policy.device)
    first_BT = place_T < length_B[:, None]
    return replace(
        response, mask=first_BT if response.mask is None else first_BT & response.mask.bool()
    )
