"""DPO: direct preference optimisation.

    loss = -log sigmoid( beta * (drift_chosen - drift_rejected) )

Paper: Rafailov et al. 2023, arXiv 2305.18290, equation 7.
Official code: eric-mitchell/direct-preference-optimization, `trainers.py`.

Convention: log-probs are token sums over the response, end-of-sequence token included;
drift is policy minus reference. Implicit reward: beta * drift (equation 5, without the
prompt's partition term, which cancels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tiebreak.methods.contract import Needs, hyperparameter
from tiebreak.methods.numerics import log_sigmoid

if TYPE_CHECKING:
    from torch import Tensor

    from tiebreak.methods.responses import Pairs


@dataclass(frozen=True)
class DPO:
    name: ClassVar[str] = "dpo"
    summary: ClassVar[str] = "logistic loss on the difference of drifts"
    needs: ClassVar[Needs] = Needs()
    start_loss: ClassVar[str] = "ln 2"

    beta: float = hyperparameter(0.1, source="2305.18290 App. B (0.5 for TL;DR)", above=0)

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 7, one loss per pair."""
        margin_B = pairs.chosen.drift() - pairs.rejected.drift()
        return -log_sigmoid(self.beta * margin_B)

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """(chosen (B,), rejected (B,)): beta * drift, detached."""
        chosen_B, rejected_B = pairs.chosen.drift(), pairs.rejected.drift()
        return self.beta * chosen_B.detach(), self.beta * rejected_B.detach()

    def loss_at_start(self) -> float | None:
        """The loss when policy and reference are equal."""
        return 0.6931471805599453
