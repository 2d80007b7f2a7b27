"""SPPO: self-play preference optimisation, with hard labels.

    loss = ( (drift_chosen - 1 / (2 beta))^2 + (drift_rejected + 1 / (2 beta))^2 ) / 2

Paper: Wu et al. 2024, arXiv 2405.00675, equation 4.7 with win probabilities 1 and 0.
Official code: uclaml/SPPO, `sppo/trainer.py` (loss types `sppo` and `sppo_single`).

Convention: log-probs are token sums. beta is the paper's 1 / eta. The loss is the mean over the
two responses, as in the authors' code; TRL's `sppo_hard` is their sum, exactly twice this. The
authors use win probabilities from a preference model instead of 1 and 0; pairs carry none.
Implicit reward: beta * drift, with targets 0.5 and -0.5.
Training: the authors' script uses a learning rate of 5e-7, RMSprop and three rounds, each on
fresh responses of the last round's model, which is the round's reference; here: one round.

Fixes: DPO's margin has no limit and may sink both responses; here each drift has a target of its
own.
Watch: `drift/chosen` should rise, `drift/rejected` fall. The loss starts at 250000 with the
default beta and 5 nats of drift change it by 2 percent: read the drifts.
Fails: with the default beta the targets are 500 nats off, so gradients are huge and nearly the
same for every pair; training is held only by gradient clipping, the learning rate and stopping
early.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor


@dataclass(frozen=True)
class SPPO(DriftRewards):
    name = "sppo"
    summary = "squared distance of each drift to a target of its own"
    start_loss = "(1 / (2 beta))^2"

    beta: float = hyperparameter(
        0.001,
        "SPPO `scripts/pipeline.sh`; TRL",
        above=0,
        search={"low": 0.001, "high": 0.01, "log": True},
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 4.7, one loss per pair."""
        target = 0.5 / self.beta
        chosen_B = (pairs.chosen.drift() - target) ** 2
        rejected_B = (pairs.rejected.drift() + target) ** 2
        return (chosen_B + rejected_B) / 2

    def loss_at_start(self) -> float | None:
        return (0.5 / self.beta) ** 2
