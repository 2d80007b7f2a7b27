"""Identity at the start: policy and reference are the same model, so the first loss is known.

A wrong reference, a template that changed, a missing BOS, dropout left on: each makes the first
loss differ from its known value, and each would cost the whole run. So the run refuses to train.
"""

from __future__ import annotations

from collections.abc import Mapping

from tiebreak.errors import UserError
from tiebreak.methods import Method

CAUSES = (
    "the reference log-probs were made by other weights, another tokenizer or template, or another "
    "precision; or dropout is on; or the adapter does not start at zero"
)


def check_start(method: Method, metrics: Mapping[str, float], precision: str) -> None:
    """Compare the means of the first optimiser batch, before any update, with what must hold.

    Drift per token must vanish; the loss must equal `method.loss_at_start()` where that is known.
    bfloat16 rounds each log-prob by up to 2^-8 of its value, hence the wider bands there.
    """
    drift_band, loss_band = (2e-4, 2e-2) if precision == "float32" else (5e-2, 2e-1)
    found = {
        name: metrics[name]
        for name in ("drift/chosen_per_token", "drift/rejected_per_token")
        if name in metrics
    }
    expected = {name: 0.0 for name in found}
    known = method.loss_at_start()
    if known is not None:
        expected["loss"], found["loss"] = known, metrics["loss"]
    for name, value in expected.items():
        band = loss_band * max(1.0, abs(value)) if name == "loss" else drift_band
        # "not within" rather than "beyond": NaN is neither.
        if not abs(found[name] - value) <= band:
            raise UserError(
                f"before the first update {name} must be {value:.6g} and is {found[name]:.6g}: "
                f"the run would train against a wrong reference. Usual causes: {CAUSES}"
            )
