"""DPO-norm: length-normalised DPO, the preference stage of Tülu 3.

    loss = -log sigmoid( beta * (mean_drift_chosen - mean_drift_rejected) )

Paper: Lambert et al. 2024, arXiv 2411.15124 (Tülu 3), section 4.3 by TRL's paper index.
Official code: allenai/open-instruct, `open_instruct/dpo_utils.py` (`dpo_norm`).

Convention: drift is a mean per response token, so beta is far larger than DPO's: at 50 tokens
beta 5 acts like DPO's 0.1. TRL calls it `sigmoid_norm`. Implicit reward: beta * mean drift.
Training: batch 128, one epoch, linear, warm-up 0.1, 5e-7 (8B) or 2e-7 (70B).

Fixes: DPO's margin is a sum, so long responses weigh more and the policy learns length; a mean
gives each response the same scale.
Watch: `length/generated`, and `drift/chosen_per_token` in place of `drift/chosen`.
Fails: with DPO's beta of 0.1 the margin stays near 0 and the loss near ln 2. A token of a short
response weighs more than one of a long response, so short pairs lead the training.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import Method, hyperparameter
from tiebreak.methods.responses import Pairs, Responses, Tensor, log_sigmoid


@dataclass(frozen=True)
class DPONorm(Method):
    name = "dpo-norm"
    summary = "logistic loss on the difference of mean drifts"
    start_loss = "ln 2"

    # No published range was found for beta: search tries values around the default.
    beta: float = hyperparameter(
        5.0, "open-instruct `tulu3_dpo_8b.yaml`", above=0, search=[2.0, 5.0, 10.0]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) DPO's loss on drifts per token, one per pair."""
        margin_B = pairs.chosen.mean_drift() - pairs.rejected.mean_drift()
        return -log_sigmoid(self.beta * margin_B)

    def reward(self, responses: Responses) -> Tensor:
        """(B,) beta * mean drift."""
        return self.beta * responses.mean_drift()
