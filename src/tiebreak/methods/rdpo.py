"""R-DPO: length-regularised DPO.

    loss = -log sigmoid( beta * h + alpha * (length_chosen - length_rejected) )
    h = drift_chosen - drift_rejected

Paper: Park et al. 2024, arXiv 2403.19159, the length-regularised objective.
Official code: none; LuJunru/SamPO `dpo_trainer.py` has it as `lenN`.

Convention: drifts are token sums, lengths count response tokens, and alpha stands outside beta. The
sign is plus. The policy maximises reward - alpha * length, so the reward behind the preferences is
beta * drift + alpha * length: length explains part of a preference for a longer answer, and the
drift need not. junkangwu/alpha-DPO writes a minus, which would reward length. No default is
settled: 0.01 is SamPO's launch script, the SimPO protocol starts at 0.05. Implicit reward:
beta * drift + alpha * length.
Training: Pythia-2.8B, HH and TL;DR; otherwise DPO's settings (learning rates not seen).

Fixes: DPO's policy grows longer than any answer in the data, since longer is slightly preferred
and the drift of a long answer has more room.
Watch: `length/generated` against the start model's; `reward/margin` now has a length part, so
compare `drift/chosen` and `drift/rejected` with DPO's.
Fails: alpha counts tokens: 0.05 on a difference of 200 tokens is 10 nats in the sigmoid, which
silences pairs with a longer chosen answer and leaves training to the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import Method, hyperparameter
from tiebreak.methods.responses import Pairs, Responses, Tensor, log_sigmoid


@dataclass(frozen=True)
class RDPO(Method):
    name = "rdpo"
    summary = "logistic loss on drifts, with the length difference in the margin"
    start_loss = "-log sigmoid( alpha * length difference ), a mean over pairs"

    beta: float = hyperparameter(
        0.1, "2305.18290; SimPO protocol 0.01 to 0.1", above=0, search=[0.01, 0.05, 0.1]
    )
    alpha: float = hyperparameter(
        0.01,
        "SamPO `dpo.sh`; SimPO protocol 0.05 to 1",
        at_least=0,
        search=[0.01, 0.05, 0.1, 0.5, 1.0],
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) the length-regularised objective, one loss per pair."""
        longer_B = pairs.chosen.length() - pairs.rejected.length()
        return -log_sigmoid(self.beta * pairs.drift_margin() + self.alpha * longer_B)

    def reward(self, responses: Responses) -> Tensor:
        """(B,) beta * drift + alpha * length."""
        return self.beta * responses.drift() + self.alpha * responses.length()
