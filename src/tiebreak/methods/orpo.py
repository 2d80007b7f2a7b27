"""ORPO: odds ratio preference optimisation.

    loss = NLL - odds_ratio_weight * log sigmoid( log_odds_chosen - log_odds_rejected )
    log_odds = mean_logp - log(1 - exp(mean_logp))

Paper: Hong et al. 2024, arXiv 2403.07691, equations 6 and 7.
Official code: xfactlab/orpo, `src/orpo_trainer.py`.

Convention: odds take the mean log-prob per response token. `nll="sequence"` (default) is the mean
NLL over prompt and chosen response, all tokens but the first, as the official code and TRL run it;
`nll="response"` leaves the prompt out (the code's `disable_prompt_loss`). These two average over
each pair first; `nll="batch"` divides by all tokens of the optimiser batch, prompts included, as
both codes do, so that long rows weigh more. The code lets one pad token into the mean
log-prob of padded rows; that is not copied. log(1 - exp(x)) stays finite because the mean log-prob
is clamped at -1e-6, without gradient above it. The weight is the paper's lambda, alpha in the code
and beta in TRL. Implicit reward: the log odds.
Training: 8e-6, cosine, 10 epochs, best by evaluation (paper); 5e-6, inverse square root, 200
warm-up steps, 5 epochs, batch 32 (repository). It starts from a base model, without SFT.

Fixes: SFT raises the rejected response along with the chosen one, and DPO needs a second model and
a stage of its own; this does both in one run with no reference.
Watch: `logp/chosen` should rise, as in SFT; `reward/margin` stays small beside the NLL.
Fails: with 0.1 the NLL dominates, so on a model that is already instruction-tuned it is little more
than SFT. Prompts enter the default NLL: a long system prompt takes most of the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import Method, Needs, hyperparameter
from tiebreak.methods.responses import Pairs, Responses, Tensor, log_sigmoid


@dataclass(frozen=True)
class ORPO(Method):
    name = "orpo"
    summary = "likelihood of the chosen plus a logistic loss on the odds ratio"

    odds_ratio_weight: float = hyperparameter(
        0.1,
        "2403.07691 (lambda: Mistral 0.1, Llama-2 0.2, Phi-2 0.25)",
        at_least=0,
        search=[0.1, 0.2, 0.25, 0.5, 1.0, 2.0],
    )
    nll: str = hyperparameter(
        "sequence", "xfactlab/orpo, TRL: with the prompt",
        options=("sequence", "response", "batch"),
    )  # fmt: skip

    @property
    def needs(self) -> Needs:
        return Needs(reference=False, prompt=self.nll != "response")

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 6, one loss per pair."""
        log_ratio_B = self.reward(pairs.chosen) - self.reward(pairs.rejected)
        return self._nll(pairs) - self.odds_ratio_weight * log_sigmoid(log_ratio_B)

    def reward(self, responses: Responses) -> Tensor:
        """(B,) log( P / (1 - P) ) with P = exp(mean log-prob)."""
        mean_B = responses.mean_logp().clamp(max=-1e-6)
        return mean_B - (-mean_B.expm1()).log()

    def _nll(self, pairs: Pairs) -> Tensor:
        """(B,) NLL of the chosen response, or of prompt and chosen response, per token."""
        if self.nll == "response":
            return -pairs.chosen.mean_logp()
        if pairs.prompt is None:
            raise ValueError("ORPO needs prompt log-probs; build Pairs with prompt=")
        length_B = _length(pairs)
        per_B = length_B if self.nll == "sequence" else _length(pairs.batch()).mean()
        return -(pairs.prompt.logp() + pairs.chosen.logp()) / per_B


def _length(pairs: Pairs) -> Tensor:
    """(B,) tokens of prompt, without its first, and chosen response."""
    assert pairs.prompt is not None
    return pairs.prompt.length() + pairs.chosen.length()
