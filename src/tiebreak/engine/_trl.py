"""The only file that touches TRL: its SFT trainer.

TRL is pinned to one minor version; `tests/engine/test_trl_contract.py` says what is relied upon.
"""

from __future__ import annotations


def sft_classes() -> tuple[type, type]:
    """(SFTTrainer, SFTConfig)."""
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer, SFTConfig
