"""CPO: contrastive preference optimisation.

    loss = -log sigmoid( beta * (logp_chosen - logp_rejected) ) + alpha * NLL(chosen)

Paper: Xu et al. 2024, arXiv 2401.08417, equations 3 to 5.
Official code: fe1ixxu/ALMA, `utils/cpo_trainer.py` (its head carries later additions).

Convention: the preference term takes token sums; the NLL is a mean per token. Sources disagree:
`nll="batch"` (default) is a mean over all chosen tokens of the optimiser batch, as ALMA and TRL
compute it and with it every published number; `nll="sum"` is equation 4 as it is written, the
log-prob of the whole response, tens of times larger at the same alpha; `nll="response"` is a mean
per token of each response, so that long responses weigh no more than short ones.
No reference. Implicit reward: beta * log-prob of the response.
Training: 1e-4, inverse square root, 1% warm-up, one epoch, 512 tokens, LoRA (machine translation);
comparison studies use DPO's rates and beta from 0.01.

Fixes: DPO with the reference left out, so no second model is scored or held; the NLL takes over
the job of keeping the chosen response likely.
Watch: `logp/chosen` should rise; `logp/rejected` falls. With no reference in the loss, only
`kl/reference` and `entropy` tell how far the model went.
Fails: sums without a reference favour the shorter response of a pair from the start, and a long
pair saturates the sigmoid at once. With a small alpha nothing holds the model near its start.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import Method, Needs, hyperparameter
from tiebreak.methods.responses import Pairs, Responses, Tensor, log_sigmoid


@dataclass(frozen=True)
class CPO(Method):
    name = "cpo"
    summary = "reference-free logistic loss on log-probs, with an NLL on the chosen"
    needs = Needs(reference=False)

    beta: float = hyperparameter(
        0.1, "2401.08417; ALMA `cpo_ft.sh`", above=0, search=[0.01, 0.05, 0.1]
    )
    alpha: float = hyperparameter(1.0, "2401.08417; ALMA", at_least=0, search=[0.1, 0.5, 1.0])
    nll: str = hyperparameter(
        "batch", "batch: ALMA, TRL; sum: 2401.08417, equation 4",
        options=("batch", "sum", "response"), introduced="response",
    )  # fmt: skip

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 5, one loss per pair."""
        margin_B = pairs.chosen.logp() - pairs.rejected.logp()
        return -log_sigmoid(self.beta * margin_B) + self.alpha * self._nll(pairs)

    def reward(self, responses: Responses) -> Tensor:
        """(B,) beta * log-prob."""
        return self.beta * responses.logp()

    def _nll(self, pairs: Pairs) -> Tensor:
        """(B,) of the chosen response; "batch": its share, B times its part of the mean."""
        if self.nll == "sum":
            return -pairs.chosen.logp()
        if self.nll == "response":
            return -pairs.chosen.mean_logp()
        return -pairs.chosen.logp() / pairs.batch().chosen.length().mean()
