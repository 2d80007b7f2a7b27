"""Which layout gives the model's own numbers: a few real rows, scored both ways before the rest is.

The model's own forward, one conversation at a time, with the logits that it gives itself, is the
truth. Rows are scored in float32 and must agree within `TOLERANCE` nats for each token; the first
layout that does is used. What is compared: the longest row, the longest conversation, and padded in
a micro-batch the shortest row; one whose responses differ early is among them. The check is cheap
beside a run: `benchmarks/probe.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tiebreak.engine import rows as row_layout
from tiebreak.engine.causal_lm import forget_lengths, plain_forward
from tiebreak.engine.reference import ReferenceTable
from tiebreak.engine.rows import Branches, Layout
from tiebreak.engine.scoring import causal_lm_of
from tiebreak.errors import UserError

TOLERANCE = 1e-3  # nats per token
BFLOAT16 = 0.1  # nats per token, in the mean over a response
SEEN = 32  # tokens before the last of a text, which must not depend on it
EARLY = 2  # responses that share fewer tokens at their beginning differ early
CAUSES = (
    "the reference log-probs were made by other weights, another tokenizer or template, or another "
    "precision; or dropout is on; or the adapter does not start at zero"
)
FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError,
            NotImplementedError, AssertionError)  # fmt: skip


Place = tuple[int, int]  # (row, response)


@dataclass(frozen=True)
class Probe:
    """layout: what to use. difference: largest found with it, nats per token. truth: log-probs (T,)
    of the responses that were looked at, by the model's own forward. why: what was wrong with the
    cheaper layouts."""

    layout: Layout
    difference: float
    truth: dict[Place, Tensor]
    why: dict[Layout, str]


def probe(model: Any, branches: Sequence[Branches]) -> Probe:
    """The cheapest layout in which `model` (with the scoring call) gives its own log-probs. The
    model stays in the mode it is in: what training switches on shows here. UserError: no layout
    does, a row is longer than the model takes, an id has no embedding, or tokens see later ones."""
    causal_lm = causal_lm_of(model)
    check_ids(causal_lm, branches)
    batches = _chosen(branches)
    with torch.no_grad(), torch.autocast(_device(model).type, enabled=False):
        truth = {(i, k): _truth(causal_lm, branches[i], branches[i].responses[k])
                 for batch in batches for row in batch for i, k in row}  # fmt: skip
        _check_causal(causal_lm, branches[batches[0][0][0][0]])
        why: dict[Layout, str] = {}
        for layout in Layout:
            found = _compared(model, branches, batches, layout, truth)
            if isinstance(found, float) and found <= TOLERANCE:
                return Probe(layout, found, truth, why)
            why[layout] = found if isinstance(found, str) else f"{found:.2g} nats off"
    different = "; ".join(f"{layout}: {what}" for layout, what in why.items())
    raise UserError(
        f"model {causal_lm.config.model_type!r} cannot be scored: no layout of its rows gives the "
        f"log-probs of its own forward ({different}); use another model"
    )


def check_reference(found: Probe, table: ReferenceTable, precision: str) -> None:
    """UserError where the stored log-probs of the rows that were looked at are not the model's.
    Those made in bfloat16 are rounded, by up to `BFLOAT16` nats per token in the mean."""
    for (row, branch), truth_T in found.truth.items():
        stored_T = table.get(row, branch).to(truth_T)
        alike = len(stored_T) == len(truth_T)
        apart = (stored_T - truth_T).abs() if alike else truth_T.new_tensor([float("inf")])
        off = apart.max() if precision == "float32" else apart.mean()
        if not off <= (TOLERANCE if precision == "float32" else BFLOAT16):
            raise UserError(
                f"the stored reference log-probs of training row {row + 1} are {off:.2g} nats "
                "per token off the start model's own: the run would train against a wrong "
                f"reference. Usual causes: {CAUSES}"
            )


def check_ids(causal_lm: Any, branches: Sequence[Branches]) -> None:
    """UserError for a token id without a row in the embeddings."""
    rows = causal_lm.get_input_embeddings().weight.shape[0]
    most = max(max(*row.prompt, *(max(r) for r in row.responses), 0) for row in branches)
    if most >= rows:
        raise UserError(
            f"the tokenizer gives token id {most}, and model {causal_lm.config.model_type!r} has "
            f"embeddings for {rows} (0 to {rows - 1}); give the tokenizer that belongs to the "
            "model, or a model whose embeddings were resized"
        )


def _check_causal(causal_lm: Any, row: Branches) -> None:
    """UserError where a token changes the log-probs of those before it."""
    ids = [*row.prompt, *row.responses[0]][: 2 * SEEN]
    if len(ids) < 3:
        return
    start = max(1, len(ids) - SEEN)
    another = next((token for token in ids if token != ids[-1]), 0)
    before, after = (_truth(causal_lm, Branches(ids[:start], []), [*ids[start:-1], last])[:-1]
                     for last in (ids[-1], another))  # fmt: skip
    if not (before - after).abs().max().nan_to_num(torch.inf) <= TOLERANCE:
        raise UserError(
            f"model {causal_lm.config.model_type!r} lets a token see those that follow it, so that "
            "it gives no log-prob of a text; use a model that predicts the next token"
        )


def _chosen(branches: Sequence[Branches]) -> list[list[list[Place]]]:
    """What is compared: micro-batches of rows of responses. The longest row has a micro-batch of
    its own where the others pad each other."""
    by_length = sorted(range(len(branches)), key=lambda i: branches[i].positions())
    long, short = by_length[-1], by_length[0]
    ends = [long] if long == short else [long, short]
    if not any(_differ_early(branches[i]) for i in ends):
        ends += [i for i in by_length if _differ_early(branches[i])][:1]
    rows = [[(i, k) for k in range(len(branches[i].responses))] for i in ends]
    size, i, k = max((len(row.prompt) + len(response), i, k)
                     for i, row in enumerate(branches)
                     for k, response in enumerate(row.responses))  # fmt: skip
    if all(len(branches[n].prompt) + len(r) < size for n in ends for r in branches[n].responses):
        rows.append([(i, k)])
    lengths = {_part(branches, row).positions() for row in rows[1:]}
    return [rows[:1], rows[1:]] if len(lengths) > 1 else [rows]


def _part(branches: Sequence[Branches], row: Sequence[Place]) -> Branches:
    whole = branches[row[0][0]]
    return Branches(whole.prompt, [whole.responses[k] for _, k in row])


def _differ_early(row: Branches) -> bool:
    if len(row.responses) < 2:
        return False
    first, last = row.responses[0], row.responses[-1]
    return len(first) > EARLY and len(last) > EARLY and list(first[:EARLY]) != list(last[:EARLY])


def _compared(
    model: Any,
    branches: Sequence[Branches],
    batches: list[list[list[Place]]],
    layout: Layout,
    truth: dict[Place, Tensor],
) -> float | str:
    """Largest difference per token, or how scoring failed."""
    scored: list[Tensor] = []
    try:
        for batch in batches:
            rows = [_part(branches, row) for row in batch]
            built = row_layout.build(rows, 0, layout=layout).to(_device(model))
            # Not by `model(...)`: what wraps it in training may compute in another precision.
            scored += built.split(causal_lm_of(model)._scoring_forward(rows=built).logp)
    except torch.OutOfMemoryError:
        raise  # says nothing about the layout
    except FAILURES as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    differences = [
        (a.double() - b).abs().max() for a, b in zip(scored, truth.values(), strict=True)
    ]
    worst = float(torch.stack(differences).max())
    return worst if worst == worst else "not a number"


def _truth(causal_lm: Any, row: Branches, response: Sequence[int]) -> Tensor:
    """(T,) log-probs of a response's tokens, in double precision."""
    ids = torch.tensor([[*row.prompt, *response]], device=_device(causal_lm))
    forget_lengths(causal_lm._growing_rotary)
    try:
        out = plain_forward(causal_lm)(input_ids=ids, use_cache=False)
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        raise _too_long(causal_lm, ids.shape[1], error) from error
    logits_TV = out.logits[0, len(row.prompt) - 1 : -1].double()
    targets_T = ids[0, len(row.prompt) :]
    return logits_TV.log_softmax(-1).gather(1, targets_T[:, None])[:, 0]


def _too_long(causal_lm: Any, length: int, error: Exception) -> UserError:
    kind, limit = causal_lm.config.get_text_config().model_type, position_limit(causal_lm)
    if limit is not None and length > limit:
        return UserError(
            f"a prompt with its response takes {length} positions, and model "
            f"{kind!r} has {limit}; give data.max_length={limit}"
        )
    return UserError(
        f"model {kind!r} cannot be scored: its own forward fails "
        f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no text'}); "
        "use another model"
    )


def position_limit(model: Any) -> int | None:
    """Its number of positions, under the names the library knows; None: its config has none."""
    config = model.config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "n_ctx", "seq_length")
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def _device(model: Any) -> torch.device:
    return next(model.parameters()).device
