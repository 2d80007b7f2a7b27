"""beta-DPO: DPO with a beta of its own for every batch.

    loss = -log sigmoid( beta_batch * h ) for the pairs that are kept, 0 for the dropped ones
    h = drift_chosen - drift_rejected
    beta_batch = beta * (1 + alpha * (mean h of the kept pairs - m)), at least 0.001, no gradient
    kept: a share 1 - rho, drawn without replacement with weights exp( -((h - m) / s)^2 / 2 )
    m, s: moving averages of the batch's mean and standard deviation of h

Paper: Wu et al. 2024, arXiv 2407.08639 (section 4; equation numbers not verified).
Official code: junkangwu/beta-DPO, `trainers.py`.

Convention: drifts are token sums. m and s start at 0 and move before they are used, without
bias correction, as in the official code; 0 is what both are while policy and reference are
equal. That code takes a micro-batch as the batch, also updates m and s on evaluation data, and
cannot run on one pair; here the batch is the optimiser batch, of training only, a lone pair has
deviation 0, and one pair at least is kept. Kept losses are scaled so that the batch mean is their
mean. The draw is fixed by seed, step and row. Implicit reward: beta * drift, with the fixed beta.
Training: RMSprop, 5e-7, warm-up 150 steps, batch 64 (the code's defaults and its command).

Fixes: one beta does not suit easy and hard pairs; a batch with large margins gets a larger beta
and moves the policy less. Pairs with unusual margins, taken for noise, are mostly left out.
Watch: `drift/margin` over steps: when it grows fast m lags behind it and beta_batch rises with
it. `grad/norm` for batches whose beta_batch sits at 0.001.
Fails: h is in nats, so at long responses alpha * (mean h - m) is easily below -1 or far above 1;
then beta_batch is its floor or many times beta. In the first 20 or so steps m and s lag behind,
and the draw mostly keeps the pairs nearest m.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tiebreak.methods.contract import DriftRewards, Needs, hyperparameter
from tiebreak.methods.responses import Pairs, Tensor, log_sigmoid


@dataclass(frozen=True)
class BetaDPO(DriftRewards):
    name = "beta-dpo"
    summary = "DPO, beta set by the batch's margins, unusual pairs left out"
    needs = Needs(whole_batch=("pairs",))
    start_loss = "ln 2"

    beta: float = hyperparameter(
        0.1, "official README's command", above=0, search=[0.01, 0.05, 0.1]
    )
    # No published range was found for alpha and rho: search tries values around the default.
    alpha: float = hyperparameter(
        0.6, "official README (`a`; config has 0)", at_least=0, search=[0.2, 0.4, 0.6]
    )
    rho: float = hyperparameter(
        0.2, "official `mode_weight`", at_least=0, below=1, search=[0.0, 0.2, 0.4]
    )
    momentum: float = hyperparameter(0.9, "official `trainers.py`", at_least=0, below=1)

    def loss(self, pairs: Pairs) -> Tensor:
        """(B,) one loss per pair; the mean over the whole batch is that over the kept pairs."""
        batch = pairs.batch()
        kept_B = self.kept(batch)
        weight_B = kept_B / kept_B.mean()
        beta = self.calibrated(batch, kept_B)
        return pairs.own(weight_B) * -log_sigmoid(beta * pairs.drift_margin())

    def carry(self, batch: Pairs, before: Mapping[str, float]) -> dict[str, float]:
        """m and s after this batch, moved from the last step's; both are 0 at first."""
        margin_B = batch.drift_margin().detach().double()
        spread = margin_B.std().item() if len(margin_B) > 1 else 0.0
        now = {"margin_mean": margin_B.mean().item(), "margin_std": spread}
        old, new = self.momentum, 1 - self.momentum
        return {name: old * before.get(name, 0.0) + new * value for name, value in now.items()}

    def calibrated(self, batch: Pairs, kept_B: Tensor) -> Tensor:
        """beta_batch, a scalar without gradient."""
        margin_B = batch.drift_margin().detach()
        excess = (kept_B * margin_B).sum() / kept_B.sum() - batch.carried["margin_mean"]
        return (self.beta * (1 + self.alpha * excess)).clamp(min=1e-3)

    def kept(self, batch: Pairs) -> Tensor:
        """(B,) 1 for the pairs of the whole batch that are kept, else 0.

        Adding standard Gumbel noise to log weights and keeping the largest is the same draw as
        one pair after another without replacement. Weights as logarithms never vanish, and with
        s = 0 the pairs nearest m are kept.
        """
        margin_B = batch.drift_margin().detach()
        if batch.noise is None or not batch.carried:
            raise ValueError("beta-dpo needs noise and carried; build the whole Pairs with both")
        mean, spread = batch.carried["margin_mean"], max(batch.carried["margin_std"], 1e-6)
        gumbel_B = -(-batch.noise.double().clamp(1e-12, 1 - 1e-12).log()).log()
        key_B = gumbel_B - 0.5 * ((margin_B.double() - mean) / spread) ** 2
        count = max(1, math.floor(len(key_B) * (1 - self.rho) + 1e-9))
        first_K = key_B.argsort(descending=True, stable=True)[:count]
        return margin_B.new_zeros(len(margin_B)).index_fill(0, first_K, 1.0)
