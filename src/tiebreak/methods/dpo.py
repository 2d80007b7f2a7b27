"""DPO: direct preference optimisation.

    loss = -log sigmoid( beta * (drift_chosen - drift_rejected) )

Paper: Rafailov et al. 2023, arXiv 2305.18290, equation 7.
Official code: eric-mitchell/direct-preference-optimization, `trainers.py`.

Convention: log-probs are token sums over the response, end-of-sequence token included;
drift is policy minus reference. Implicit reward: beta * drift (equation 5, without the
prompt's partition term, which cancels).
Training: 1e-6 (the repository's default is 5e-7), RMSprop, 150 warm-up steps, batch 64; 7B chat
models since use 3e-7 to 7e-7, batch 128, one epoch, often with beta 0.01.

Fixes: RLHF needs a reward model, rollouts and a tuned PPO; here one classification loss on pairs
has the same optimum, the reward being read off the policy itself.
Watch: `reward/margin` must rise, and `drift/chosen` with it or at least not sink; `displaced/share`
counts the pairs where it sank. `kl/reference` and `length/generated` show what generation pays.
Fails: only the difference of drifts is seen, so both responses may become less likely, above all in
near-identical pairs (see dpop). The sum over tokens rewards length (see rdpo, simpo). Wrong labels
are fitted without limit (see cdpo, ipo).
"""

from __future__ import annotations

from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, log_sigmoid


@dataclass(frozen=True)
class DPO(DriftRewards):
    name = "dpo"
    summary = "logistic loss on the difference of drifts"
    start_loss = "ln 2"

    beta: float = hyperparameter(
        0.1, "2305.18290 App. B (0.5 for TL;DR)", above=0, search=[0.01, 0.05, 0.1]
    )

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) equation 7, one loss per pair."""
        return -log_sigmoid(self.beta * pairs.drift_margin())
