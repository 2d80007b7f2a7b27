"""BCO: binary classifier optimisation on single labelled responses.

    desirable:   -log sigmoid( beta * drift - delta )
    undesirable: -log sigmoid( -(beta * drift - delta) )
    delta = running mean of beta * drift, over every response trained on so far, without gradient

Paper: Jung et al. 2024, arXiv 2404.04656 (classifier loss with its reward shift).
Official code: none found from the authors; earlier TRL's `bco_trainer.py` (gone in 1.16) is
followed.

Convention: log-probs are token sums; delta is on the scale of rewards. As in TRL delta is the
plain mean since the first step, this step's batch included, of both classes together. The paper's
shift is half of the sum of the two class means: the same number when the classes are equally
many, as in pairs. Other code keeps an exponential moving average. TRL's `bco_pair` has no delta.
The paper's density-ratio weights, for classes with different prompts, are left out. Implicit
reward: beta * drift.
Training: TRL lists a learning rate of 5e-7 and batch 128 for the paper.

Fixes: no pairs needed: a thumbs-up or thumbs-down per response. The shift centres the classifier,
which tightens its bound on DPO's loss.
Watch: `reward/margin`; `drift/chosen` and `drift/rejected`, which may fall together, as delta
follows.
Fails: after a long run the plain mean moves slowly; if rewards shift fast, delta lags behind.
With few of one class, delta sits near the other class's rewards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, Needs, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, concatenate, log_sigmoid


@dataclass(frozen=True)
class BCO(DriftRewards):
    name = "bco"
    summary = "a classifier of good and bad responses, centred by the mean reward"
    needs = Needs(unpaired=True, whole_batch=("pairs",), unit="response")
    start_loss = "ln 2"

    beta: float = hyperparameter(
        0.01, "2404.04656, as TRL lists it", above=0, search=[0.01, 0.05, 0.1]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B_chosen + B_rejected,) one loss per response: desirable first, then undesirable."""
        chosen_B, rejected_B = self.beta * pairs.chosen.drift(), self.beta * pairs.rejected.drift()
        delta = self.delta(pairs)
        return concatenate(-log_sigmoid(chosen_B - delta), -log_sigmoid(delta - rejected_B))

    def carry(self, batch: Pairs, before: Mapping[str, float]) -> dict[str, float]:
        """Responses seen so far and the mean of their rewards, this batch included."""
        rewards_B = concatenate(*self.rewards(batch))
        count = before.get("count", 0.0) + rewards_B.numel()
        delta = before.get("delta", 0.0)
        step = (rewards_B.mean().item() - delta) * rewards_B.numel() / count
        return {"count": count, "delta": delta + step}

    def delta(self, pairs: Pairs) -> float:
        """The running mean reward of this step."""
        carried = pairs.batch().carried
        if "delta" not in carried:
            raise ValueError(
                "BCO needs its running mean; build Pairs with carried=method.carry(...)"
            )
        return carried["delta"]
