"""TR-DPO: trust-region DPO, whose reference follows the policy.

    loss = -log sigmoid( beta * (drift_chosen - drift_rejected) )
    after every sync_every updates: reference <- mixing * policy + (1 - mixing) * reference

Paper: Gorbatovski et al. 2024, arXiv 2404.09656, section 3.
Official code: none confirmed; turbo-llm/turbo-alignment (`sync_ref_model.py`) and TRL have it.

Convention: log-probs are token sums; drift is against the reference of the moment. mixing is the
paper's alpha (1 is its hard update), sync_every its tau; an update is an optimiser step. The
average is over weights, not over distributions. The defaults 0.6 and 512 are those of TRL, which
used 0.9 and 64 before; whether the paper runs 0.6 at an interval of 512 was not verified.
Implicit reward: beta * drift.
Training: one epoch at 1e-6, 100 warm-up steps, gradient clipped at 2 (TRL's paper index).

Fixes: a fixed reference penalises every useful move as much as a harmful one, and the margin
against it is bought by ever lower log-probs; a moving one lets the policy leave the start model.
Watch: `reward/margin` and `drift/chosen` drop to a fraction at every sync, with the hard update
to 0; that is no fault. `kl/reference` and `logp/chosen` show how far the policy has really gone.
Fails: a run of fewer than sync_every updates is plain DPO. With frequent hard updates nothing
holds the policy near its start and both log-probs may fall without end.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, Needs, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, log_sigmoid


@dataclass(frozen=True)
class TRDPO(DriftRewards):
    name = "tr-dpo"
    summary = "DPO against a reference that follows the policy"
    needs = Needs(moving_reference=True)
    start_loss = "ln 2"

    # No published ranges were found: search tries values around the defaults.
    beta: float = hyperparameter(
        0.05, "2404.09656 table 1, by TRL's index", above=0, search=[0.01, 0.05, 0.1]
    )
    mixing: float = hyperparameter(
        0.6, "2404.09656 (alpha); TRL", above=0, at_most=1, search=[0.3, 0.6, 1.0]
    )
    sync_every: int = hyperparameter(
        512, "2404.09656 (tau); TRL", at_least=1, search=[64, 256, 512]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) DPO's loss against the reference of the moment, one per pair."""
        return -log_sigmoid(self.beta * pairs.drift_margin())

    def reference_share(self, step: int) -> float:
        """The policy's share in the reference after update `step` (from 1); 0 between syncs."""
        return self.mixing if step % self.sync_every == 0 else 0.0
