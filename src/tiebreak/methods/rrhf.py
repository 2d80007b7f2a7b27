"""RRHF: rank responses to align with human feedback.

    loss = rank_weight * sum of max(0, p_worse - p_better) over pairs of responses - logp_best
    p = logp / length^length_penalty;   a pair counts where score_worse < score_better

Paper: Yuan et al. 2023, arXiv 2304.05302, section 3 (ranking loss plus SFT loss).
Official code: GanjinZero/RRHF, `train.py`.

Convention: the ranking term is a sum over the k (k - 1) / 2 pairs of responses, not a mean; equal
scores give nothing. Plain pairs are lists of two, the chosen scored higher. `nll="response"`
(default) takes logp_best per token of that response; `nll="sum"` takes the token sum the paper
writes. The code divides by the padded width of the row and overwrites its label mask, so there p,
too, is a mean over the padded row; neither is copied. Weight 1 is in all launch scripts; the code's
own default is 100. No reference. Implicit reward: p.
Training: LLaMA-7B, 2e-5, cosine, 3% warm-up, 3 epochs, batch 64 lists (8 cards, 8 steps).

Fixes: PPO needs four models and much tuning; ranking a list of scored answers needs one model, and
the best answer gives the text to imitate.
Watch: `logp/chosen` rises as in SFT; the ranking term stops as soon as `reward/margin` is above 0:
this loss asks for order, not for distance.
Fails: pairs in order give no ranking gradient, so on easy data it is SFT. With `nll="sum"` the
likelihood term outweighs the ranking by the length of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import Method, Needs, hyperparameter
from tiebreak.methods.responses import Pairs, Responses, Tensor


@dataclass(frozen=True)
class RRHF(Method):
    name = "rrhf"
    summary = "ranking hinge over scored responses, plus NLL of the best"

    rank_weight: float = hyperparameter(
        1.0, "GanjinZero/RRHF launch scripts", at_least=0, search=[1.0, 10.0, 100.0]
    )
    length_penalty: float = hyperparameter(1.0, "2304.05302; GanjinZero/RRHF", at_least=0)
    nll: str = hyperparameter(
        "response", "response: as the code means it; sum: 2304.05302", options=("response", "sum")
    )
    k: int = hyperparameter(2, "responses per prompt; 2: plain pairs", at_least=2)

    @property
    def needs(self) -> Needs:
        return Needs(reference=False, ranked=self.k)

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) ranking plus SFT term, one loss per pair or list."""
        best, (p_Bk, scores_Bk) = self._responses(pairs)[0], self._ranking(pairs)
        gap_Bkk = (p_Bk[:, :, None] - p_Bk[:, None, :]).relu()
        worse_Bkk = scores_Bk[:, :, None] < scores_Bk[:, None, :]
        nll_B = -(best.logp() if self.nll == "sum" else best.mean_logp())
        return self.rank_weight * (gap_Bkk * worse_Bkk).sum((1, 2)) + nll_B

    def reward(self, responses: Responses) -> Tensor:
        """(B,) logp / length^length_penalty, by way of the mean: empty responses raise."""
        return responses.mean_logp() * responses.length() ** (1 - self.length_penalty)

    def _responses(self, pairs: Pairs) -> tuple[Responses, ...]:
        """The responses of each prompt, best first."""
        ranked = pairs.ranked or (pairs.chosen, pairs.rejected)
        if len(ranked) != self.k:
            raise ValueError(f"these lists have {len(ranked)} responses; set k={len(ranked)}")
        return ranked

    def _ranking(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """(p (B, k), scores (B, k)); a chosen response without a score beats a rejected one."""
        import torch

        p_Bk = torch.stack([self.reward(r) for r in self._responses(pairs)], 1)
        if pairs.scores is None:
            return p_Bk, -torch.arange(self.k, device=p_Bk.device).expand_as(p_Bk)
        return p_Bk, pairs.scores
