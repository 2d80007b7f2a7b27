"""SLiC-HF: sequence likelihood calibration with human feedback.

    loss = max(0, delta - logp_chosen + logp_rejected) - regulariser_weight * logp_chosen

Paper: Zhao et al. 2023, arXiv 2305.10425, section 2 (the form on pairs of human feedback).
Official code: none; ContextualAI/HALOs `config/loss/slic.yaml` has a copy.

Convention: the hinge takes token sums and no reference. The regulariser is a likelihood term, a
token sum as the paper prints it. Its target there is the SFT text or the best-ranked sample; pairs
carry neither, so it is the chosen response, as in HALOs and the SimPO comparison. HALOs writes the
margin as beta and takes the likelihood per token. TRL's `hinge` is not this loss: it has a
reference (see rso). regulariser_weight has no agreed default: 0.1 is HALOs' and the lowest value
of the SimPO protocol. Implicit reward: log-prob of the response.
Training: T5 models; 1e-5 (arXiv version) or 1e-4, batch 512 (published version, as TRL has it).

Fixes: RLHF without a reward model or rollouts in the loop: pairs more than delta apart are left
alone, and the likelihood term takes the place of a KL penalty.
Watch: `logp/chosen` and `logp/rejected`: the hinge only sees their difference, and is 0 for
pairs whose `reward/margin` is beyond delta.
Fails: sums favour short answers, since a longer chosen one starts with a lower log-prob. At delta
1 most pairs of long answers are either far inside or far outside the hinge, and the likelihood
term, hundreds of nats long, then decides the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import Method, Needs, hyperparameter
from tiebreak.methods.responses import Pairs, Responses, Tensor


@dataclass(frozen=True)
class SLiC(Method):
    name = "slic"
    summary = "reference-free hinge on log-probs, plus likelihood of the chosen"
    needs = Needs(reference=False)

    delta: float = hyperparameter(
        1.0, "2305.10425; HALOs `slic.yaml` (beta)", above=0, search=[0.1, 0.5, 1.0, 2.0]
    )
    regulariser_weight: float = hyperparameter(
        0.1,
        "HALOs `slic.yaml`; SimPO protocol from 0.1 (lambda)",
        at_least=0,
        search=[0.1, 0.5, 1.0, 10.0],
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) the hinge plus the regulariser, one loss per pair."""
        chosen_B, rejected_B = pairs.chosen.logp(), pairs.rejected.logp()
        hinge_B = (self.delta - chosen_B + rejected_B).relu()
        return hinge_B - self.regulariser_weight * chosen_B

    def reward(self, responses: Responses) -> Tensor:
        """(B,) log-prob of the response."""
        return responses.logp()
