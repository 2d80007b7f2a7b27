"""RPO: regularised preference optimisation, DPO with an NLL on the chosen response.

    nll="sum":       loss = -log sigmoid( beta * h ) - eta * beta * logp_chosen
    nll="response":  loss = -log sigmoid( beta * h ) - eta * mean_logp_chosen

Paper: Liu et al. 2024, arXiv 2405.16436, algorithm 2.
Official code: YSLIU627/Regularized-Preference-Optimization, `rpo_trainer.py` in
`alignment-handbook/scripts` ("sum") and `OpenRLHF` ("response").

Convention: drifts are token sums. `nll="sum"` (default) is the paper's main form: the NLL of the
whole response, weighted by eta * beta. `nll="response"` is the authors' second form: a mean per
token, weighted by eta alone. The two etas differ in scale: the authors use 0.005 with "sum" and
0.2 (with beta 0.5) with "response". TRL puts 0.005 on a mean over the batch's tokens. Iterative
RPO (2404.19733) is another paper with the same letters; it is DPO with weight 1 on a mean.
Implicit reward: beta * drift.
Training: the authors use a learning rate of 5e-7; one epoch and beta 0.01 for Zephyr-7B, two
epochs and beta 0.05 for Gemma-7B.

Fixes: DPO can lower the chosen response while it widens the margin; the NLL holds it up.
Watch: `logp/chosen` and `displaced/share`, against a DPO run with the same beta.
Fails: too large an eta is fine-tuning on the chosen responses with the margin as a side effect.
With "sum", long responses weigh more.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, log_sigmoid


@dataclass(frozen=True)
class RPO(DriftRewards):
    name = "rpo"
    summary = "DPO with a small NLL on the chosen response"
    start_loss = "no fixed value: ln 2 plus the weighted NLL of the start model"

    beta: float = hyperparameter(
        0.01, "authors' `zephyr-7b-beta` recipe", above=0, search=[0.01, 0.05, 0.1]
    )
    eta: float = hyperparameter(
        0.005,
        "2405.16436 appendix E.1; its recipes",
        at_least=0,
        search={"low": 0.001, "high": 0.05, "log": True},
    )
    nll: str = hyperparameter(
        "sum", "2405.16436; its appendix F for response", options=("sum", "response")
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) algorithm 2, one loss per pair."""
        return -log_sigmoid(self.beta * pairs.drift_margin()) + self.eta * self._nll(pairs)

    def _nll(self, pairs: Pairs) -> Tensor:
        if self.nll == "sum":
            return -self.beta * pairs.chosen.logp()
        return -pairs.chosen.mean_logp()
