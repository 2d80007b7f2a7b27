"""What a position of a row sees, in any attention pattern (registered once, for all models).

transformers asks one function per attention implementation for each layer's mask, and gives it that
layer's pattern as `mask_function(batch, head, query, key)` over indices. While rows are scored, the
functions registered here give the pattern the *positions* of the tokens in place of their indices,
and add which branch sees which. A sliding window, a chunk or a layer pattern stays the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

_ROWS: ContextVar[tuple[Tensor, Tensor] | None] = ContextVar("rows", default=None)


@contextmanager
def branches_apart(position_RL: Tensor, branch_RL: Tensor) -> Generator[None]:
    """Masks that are made inside let a position see its prompt (branch 0) and its own branch."""
    token = _ROWS.set((position_RL, branch_RL))
    try:
        yield
    finally:
        _ROWS.reset(token)


def _by_position(build: Callable[..., Any]) -> Callable[..., Any]:
    """The library's `build`, which asks about positions and branches while rows are scored."""

    def mask(*args: Any, mask_function: Callable[..., Any], **kwargs: Any) -> Any:
        rows = _ROWS.get()
        if rows is None:
            return build(*args, mask_function=mask_function, **kwargs)
        position, branch = rows

        def visible(b: Any, head: Any, query: Any, key: Any) -> Any:
            together = (branch[b, key] == 0) | (branch[b, key] == branch[b, query])
            return mask_function(b, head, position[b, query], position[b, key]) & together

        kwargs |= {"attention_mask": None, "allow_is_causal_skip": False}
        return build(*args, mask_function=visible, **kwargs)

    return mask


for _name in ("sdpa", "eager"):
    ALL_MASK_ATTENTION_FUNCTIONS.register(_name, _by_position(ALL_MASK_ATTENTION_FUNCTIONS[_name]))
