"""APO: anchored preference optimisation, two losses.

    apo-zero:  1 - sigmoid( beta * drift_chosen ) + sigmoid( beta * drift_rejected )
    apo-down:  sigmoid( beta * drift_chosen ) + 1 - sigmoid( beta * h )

Paper: D'Oosterlinck et al. 2024, arXiv 2408.06266, equations 7 (zero) and 8 (down).
Official code: ContextualAI/CLAIR_and_APO, which points to TRL (`apo_zero`, `apo_down`, added
there by the first author).

Convention: log-probs are token sums. Both losses lie between 0 and 2. apo-down has the chosen
term with the sign that LOWERS it: its second term lowers the rejected response more. Implicit
reward: beta * drift.
Training: the paper uses a learning rate of 2e-7 and batch 64.

Fixes: DPO leaves open whether the chosen response goes up or down. apo-zero moves it up (for
chosen responses better than what the model writes), apo-down moves it down (for worse ones).
Watch: `drift/chosen` must rise with apo-zero and fall with apo-down; `logp/chosen` shows how far.
Fails: the sigmoids saturate, so a response that has drifted far the wrong way has almost no
gradient. apo-down on good chosen responses unlearns them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor


@dataclass(frozen=True)
class APOZero(DriftRewards):
    name = "apo-zero"
    summary = "chosen up and rejected down, each against the reference"
    start_loss = "1"

    beta: float = hyperparameter(
        0.1, "2408.06266 section 5.2; TRL", above=0, search=[0.01, 0.05, 0.1]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 7, one loss per pair."""
        chosen_B = (-self.beta * pairs.chosen.drift()).sigmoid()  # 1 - sigmoid
        return chosen_B + (self.beta * pairs.rejected.drift()).sigmoid()


@dataclass(frozen=True)
class APODown(DriftRewards):
    name = "apo-down"
    summary = "both responses down, the rejected one further"
    start_loss = "1"

    beta: float = hyperparameter(
        0.1, "2408.06266 section 5.2; TRL", above=0, search=[0.01, 0.05, 0.1]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 8, one loss per pair."""
        chosen_B = (self.beta * pairs.chosen.drift()).sigmoid()
        return chosen_B + (-self.beta * pairs.drift_margin()).sigmoid()  # 1 - sigmoid
