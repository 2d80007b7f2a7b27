"""cDPO: conservative DPO, with label smoothing.

    loss = - (1 - e) * log sigmoid( beta * h ) - e * log sigmoid( -beta * h )
    h = drift_chosen - drift_rejected,   e = label_smoothing

Paper: Mitchell 2023, ericmitchell.ai/cdpo.pdf, equation 3; a note, not on arXiv.
Official code: eric-mitchell/direct-preference-optimization, `trainers.py` (`label_smoothing`).

Convention: drifts are token sums. label_smoothing is the share of labels taken to be flipped; the
authors' code has 0 as default, HALOs' `cdpo.yaml` 0.2, which is used here since 0 is DPO. TRL 1.16
ignores label_smoothing in its `sigmoid` loss. Implicit reward: beta * drift.
Training: DPO's; the note gives no recipe of its own.

Fixes: DPO pushes a pair's margin up without end, even where the label is wrong. Here the best
margin is finite: beta * h = log((1 - e) / e), which is 1.39 at 0.2.
Watch: `reward/margin` settles near that value; the loss has a floor above 0 (0.50 at 0.2).
Fails: it still assumes one flip rate for all pairs; clear pairs are held back as much as doubtful
ones. `drift/chosen` may fall as in DPO.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, log_sigmoid


@dataclass(frozen=True)
class CDPO(DriftRewards):
    name = "cdpo"
    summary = "logistic loss on drifts with smoothed labels, for noisy preferences"
    start_loss = "ln 2"

    beta: float = hyperparameter(0.1, "HALOs `cdpo.yaml`", above=0, search=[0.01, 0.05, 0.1])
    label_smoothing: float = hyperparameter(
        0.2, "HALOs `cdpo.yaml` (epsilon)", at_least=0, below=0.5, search=[0.1, 0.2, 0.3]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 3, one loss per pair."""
        logit_B = self.beta * pairs.drift_margin()
        as_labelled_B, flipped_B = -log_sigmoid(logit_B), -log_sigmoid(-logit_B)
        return (1 - self.label_smoothing) * as_labelled_B + self.label_smoothing * flipped_B
