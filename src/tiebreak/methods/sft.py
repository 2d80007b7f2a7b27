"""SFT: supervised fine-tuning on the chosen responses, the baseline every table needs.

    loss = - mean_logp_chosen

Paper: Ouyang et al. 2022, arXiv 2203.02155, section 3.5 (the first step of InstructGPT).
Official code: none; huggingface/trl has a trainer, ContextualAI/HALOs `train/trainers.py` another.

Convention: a mean over the tokens of each chosen response, then over the responses of the batch,
so short and long answers weigh the same. Most trainers (TRL, HALOs) divide by all tokens of the
batch instead: there long answers weigh more. The prompt's tokens never count. The rejected
response is scored for the metrics only. Implicit reward: mean log-prob, which names no preference.
Training: UltraChat recipes (alignment-handbook, SimPO) use 2e-5, batch 128, one epoch, cosine.

Fixes: it is the control: what a method adds must show over training on the chosen text alone.
Watch: `logp/chosen` rises; `logp/rejected` usually rises too, since it answers the same prompt.
Fails: nothing tells chosen from rejected, so `reward/margin` need not grow, and several epochs on
few answers learn them by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import Method, Needs
from tiebreak.methods.responses import Pairs, Responses, Tensor


@dataclass(frozen=True)
class SFT(Method):
    name = "sft"
    summary = "negative log-likelihood of the chosen response only"
    needs = Needs(reference=False)

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) the mean NLL per token of each chosen response."""
        return -pairs.chosen.mean_logp()

    def reward(self, responses: Responses) -> Tensor:
        """(B,) mean log-prob."""
        return responses.mean_logp()
