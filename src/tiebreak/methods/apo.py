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
from typing import TYPE_CHECKING, ClassVar

from tiebreak.methods.contract import DriftRewards, Needs, hyperparameter
from tiebreak.methods.numerics import drift_margin

if TYPE_CHECKING:
    from torch import Tensor

    from tiebreak.methods.responses import Pairs


@dataclass(frozen=True)
class APOZero(DriftRewards):
    name: ClassVar[str] = "apo-zero"
    summary: ClassVar[str] = "chosen up and rejected down, each against the reference"
    needs: ClassVar[Needs] = Needs()
    start_loss: ClassVar[str] = "1"

    beta: float = hyperparameter(
        0.1, source="2408.06266 section 5.2; TRL", above=0, search=[0.01, 0.05, 0.1]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 7, one loss per pair."""
        chosen_B = (-self.beta * pairs.chosen.drift()).sigmoid()  # 1 - sigmoid
        return chosen_B + (self.beta * pairs.rejected.drift()).sigmoid()

    def loss_at_start(self) -> float | None:
        return 1.0


@dataclass(frozen=True)
class APODown(DriftRewards):
    name: ClassVar[str] = "apo-down"
    summary: ClassVar[str] = "both responses down, the rejected one further"
    needs: ClassVar[Needs] = Needs()
    start_loss: ClassVar[str] = "1"

    beta: float = hyperparameter(
        0.1, source="2408.06266 section 5.2; TRL", above=0, search=[0.01, 0.05, 0.1]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 8, one loss per pair."""
        chosen_B = (self.beta * pairs.chosen.drift()).sigmoid()
        return chosen_B + (-self.beta * drift_margin(pairs)).sigmoid()  # 1 - sigmoid

    def loss_at_start(self) -> float | None:
        return 1.0
