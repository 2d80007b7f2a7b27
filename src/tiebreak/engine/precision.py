"""Which precision a setting means on this machine."""

from __future__ import annotations

from tiebreak.config.schema import Precision


def resolve_precision(precision: Precision) -> str:
    """ "float32" or "bfloat16"; auto takes bfloat16 where the device computes in it."""
    if precision is not Precision.AUTO:
        return str(precision)
    import torch

    native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if native else "float32"
