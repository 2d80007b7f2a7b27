"""NCA: noise contrastive alignment, on pairs.

    loss = -log sigmoid( r_chosen )
           - 0.5 * ( log sigmoid( -r_chosen ) + log sigmoid( -r_rejected ) )
    r = beta * drift

Paper: Chen et al. 2024, arXiv 2402.05369 (the pairwise case of NCA; InfoNCA on pairs is DPO).
Official code: thu-ml/Noise-Contrastive-Alignment, `preference_trainer.py`.

Convention: log-probs are token sums. Only pairs here, not the paper's lists with scores. Implicit
reward: beta * drift.
Training: the code uses a learning rate of 5e-6 with QLoRA, batch 32, one epoch.

Fixes: DPO only widens the margin and may lower the chosen response with it; here each response is
scored on its own against 0, which holds up the chosen log-prob.
Watch: `drift/chosen` should stay above 0 and settle; `drift/rejected` falls.
Fails: the chosen terms are least at r_chosen = ln 2 (69 nats of drift at the default beta) and
pull back beyond it: a small beta leaves much room, a large one little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, log_sigmoid


@dataclass(frozen=True)
class NCA(DriftRewards):
    name = "nca"
    summary = "each response against noise, so that the chosen one does not sink"
    start_loss = "2 * ln 2"

    beta: float = hyperparameter(
        0.01, "Noise-Contrastive-Alignment `yamls`; TRL", above=0, search=[0.01, 0.1]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) one loss per pair."""
        chosen_B = self.beta * pairs.chosen.drift()
        rejected_B = self.beta * pairs.rejected.drift()
        noise_B = log_sigmoid(-chosen_B) + log_sigmoid(-rejected_B)
        return -log_sigmoid(chosen_B) - 0.5 * noise_B

    def loss_at_start(self) -> float | None:
        return 2 * math.log(2)
