"""What a position of a row sees, in any attention pattern (registered once, for all models).

transformers asks one function per attention implementation for each layer's mask, and gives it that
layer's pattern as `mask_function(batch, head, query, key)` over indices. While rows are scored, the
functions registered here give the pattern the *positions* of the tokens in place of their indices,
and add which tokens see which. A sliding window, a chunk or a layer pattern stays the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

Together = Callable[[Any, Any, Any], Any]  # (row, query, key) -> whether the query may see the key
_ROWS: ContextVar[tuple[Tensor, Together] | None] = ContextVar("rows", default=None)


def branches_apart(position_RL: Tensor, branch_RL: Tensor) -> AbstractContextManager[None]:
    """Masks that are made inside let a position see its prompt (branch 0) and its own branch."""

    def together(row: Any, query: Any, key: Any) -> Any:
        return (branch_RL[row, key] == 0) | (branch_RL[row, key] == branch_RL[row, query])

    return seen_by_position(position_RL, together)


def paths_apart(
    position_1K: Tensor, first_K: Tensor, last_K: Tensor
) -> AbstractContextManager[None]:
    """The same for the tokens of a tree of texts: a token that texts first to last hold sees those
    before it that all of these hold."""

    def together(row: Any, query: Any, key: Any) -> Any:
        return (first_K[key] <= first_K[query]) & (last_K[query] <= last_K[key])

    return seen_by_position(position_1K, together)


@contextmanager
def seen_by_position(position_RK: Tensor, together: Together) -> Generator[None]:
    """Masks that are made inside ask the model's pattern about positions, and `together`."""
    token = _ROWS.set((position_RK, together))
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
        position, together = rows

        def visible(b: Any, head: Any, query: Any, key: Any) -> Any:
            seen = mask_function(b, head, position[b, query], position[b, key])
            return seen & together(b, query, key)

        kwargs |= {"attention_mask": None, "allow_is_causal_skip": False}
        return build(*args, mask_function=visible, **kwargs)

    return mask


for _name in ("sdpa", "eager"):
    ALL_MASK_ATTENTION_FUNCTIONS.register(_name, _by_position(ALL_MASK_ATTENTION_FUNCTIONS[_name]))
