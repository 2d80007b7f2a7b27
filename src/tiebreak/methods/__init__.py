"""The methods: name -> class, the one explicit table.

A method is a frozen dataclass of hyper-parameters with `needs`, `summary`, `loss(pairs)`,
`rewards(pairs)` and `loss_at_start()`. Importing this imports no torch.
"""

from __future__ import annotations

from tiebreak.methods.cpo import CPO
from tiebreak.methods.dpo import DPO
from tiebreak.methods.ipo import IPO
from tiebreak.methods.kto import KTO
from tiebreak.methods.numerics import Needs
from tiebreak.methods.responses import Pairs, Responses

Method = DPO | IPO | KTO | CPO
METHODS: dict[str, type[Method]] = {"dpo": DPO, "ipo": IPO, "kto": KTO, "cpo": CPO}

__all__ = ["METHODS", "Method", "Needs", "Pairs", "Responses"]
