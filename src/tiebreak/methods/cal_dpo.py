"""Cal-DPO: calibrated direct preference optimisation.

    loss = -log sigmoid( h )
           + 0.5 * ( (drift_chosen - 1 / (2 beta))^2 + (drift_rejected + 1 / (2 beta))^2 )

Paper: Xiao et al. 2024, arXiv 2412.14516.
Official code: tengxiao1/Cal-DPO, `scripts/dpo_trainer.py`.

Convention: as in the code: log-probs are token sums, no beta in the logistic term, weight 0.5 on
the squares. The code averages the squares over the batch before it adds them; per pair, as here,
the batch mean and its gradient are the same. The weights in the paper's own equation were not
checked. Implicit reward: beta * drift, with targets 0.5 and -0.5.
Training: the code uses a learning rate of 5e-7 and one epoch; its config has beta 0.002, its
launch script 0.001.

Fixes: DPO fixes only the difference of the rewards and may sink the chosen response; the squares
give both rewards a place.
Watch: `drift/chosen` should rise above 0. At the default beta the loss starts near 62500 and
nearly all of it is the squares, so the loss says little; read the drifts.
Fails: with a small beta the squares drown the logistic term, and the targets (250 nats) are out
of reach of a usual run: training is then close to SPPO and held by clipping and the learning
rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, log_sigmoid


@dataclass(frozen=True)
class CalDPO(DriftRewards):
    name = "cal-dpo"
    summary = "DPO plus a squared pull of each drift to a target"
    start_loss = "ln 2 + (1 / (2 beta))^2"

    beta: float = hyperparameter(
        0.002,
        "Cal-DPO `dpo_config_full.yaml`",
        above=0,
        search={"low": 0.001, "high": 0.01, "log": True},
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) logistic term and calibration, one loss per pair."""
        target = 0.5 / self.beta
        chosen_B = (pairs.chosen.drift() - target) ** 2
        rejected_B = (pairs.rejected.drift() + target) ** 2
        return -log_sigmoid(pairs.drift_margin()) + 0.5 * (chosen_B + rejected_B)

    def loss_at_start(self) -> float | None:
        return math.log(2) + (0.5 / self.beta) ** 2
