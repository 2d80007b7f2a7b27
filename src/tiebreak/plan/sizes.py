"""A run in numbers before it is done: the shape of its model, and its rows with their lengths.

Both come from headers of files and from recipes; no weights and no rows are loaded.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tiebreak.config.schema import Adapter, Lora, RunConfig
from tiebreak.data.pair_sets import pair_sets
from tiebreak.data.sources import Lengths
from tiebreak.data.sources.source import DEMONSTRATIONS, TEST, TRAIN
from tiebreak.errors import UserError
from tiebreak.home import checkpoint_folder
from tiebreak.model_folder import adapter_base, tensors, weight_files
from tiebreak.plan.published import MODELS, ROWS
from tiebreak.stages.tokens import pairs_of


class NotKnown(LookupError):
    """A number that only a model or data set that is not on this machine would give."""


@dataclass(frozen=True)
class Shape:
    """A causal LM. modules: linear layer -> (inputs + outputs), summed over the layers; tied: the
    head is the embedding."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    modules: tuple[tuple[str, int], ...] = ()
    tied: bool = True

    @functools.cached_property
    def layer(self) -> float:
        """Parameters of one layer."""
        return (self.parameters - (2 - self.tied) * self.vocabulary * self.hidden) / self.layers

    @functools.cached_property
    def kv(self) -> float:
        """Width of a position's keys, as of its values; that of its states where no layer is named
        for keys alone."""
        keys = dict(self.modules).get("k_proj")
        return self.hidden if keys is None else keys / self.layers - self.hidden

    def adapter(self, lora: Lora) -> int:
        """Parameters of a LoRA adapter: rank x (inputs + outputs) of each target."""
        sizes = dict(self.modules)
        return lora.rank * sum(sizes.get(target, 0) for target in lora.targets)


@dataclass(frozen=True)
class RunSize:
    """The numbers that the costs of a run's stages are computed from.

    shape: of the start model. lengths: rows by side, and by pair set (`pairs_of`); what the run has
    not is no key. None: not known. The methods raise NotKnown.
    """

    run: RunConfig
    shape: Shape | None
    lengths: Mapping[str, Lengths | None]

    def model(self) -> Shape:
        if self.shape is None:
            raise NotKnown(f"the size of model={self.run.model.name} (it is not in the cache)")
        return self.shape

    def rows(self, side: str) -> Lengths:
        lengths = self.lengths.get(side)
        if lengths is None:
            raise NotKnown(f"the rows of data={self.run.data.name} (they were never read here)")
        return lengths

    def held_out(self) -> Lengths:
        """The rows that an evaluation uses."""
        return self.rows(str(self.run.evaluation.split))

    def prompts(self) -> float:
        """Number of prompts that are answered; held-out rows may be fewer than asked for."""
        asked = float(self.run.evaluation.num_prompts)
        has_own_prompts = self.run.data.most_prompts is not None
        return asked if has_own_prompts else min(asked, self.held_out().rows)

    def adapter(self) -> int:
        """Parameters of the adapter; 0 without one."""
        lora = self.run.train.adapter is Adapter.LORA
        return self.model().adapter(self.run.train.lora) if lora else 0

    def trained(self) -> int:
        """Parameters that align trains."""
        return self.adapter() or self.model().parameters

    def align_steps(self) -> tuple[int, float]:
        """(optimiser steps, rows they take) of align."""
        train = self.run.train
        rows = self.rows(TRAIN).rows
        return steps_and_rows(rows, train.batch_size, train.epochs, train.max_steps)

    def of_judge(self) -> RunSize:
        """The same with a judge on this machine in the place of the start model."""
        judge = self.run.evaluation.judge
        shape = _judge_shape(str(judge.model), judge.revision)
        if shape is None:
            raise NotKnown(
                f"the size of evaluation.judge.model={judge.model} (not on this machine)"
            )
        return replace(self, shape=shape)

    def has_live_reference(self) -> bool:
        return self.run.reads_reference and not self.run.stores_reference


def steps_and_rows(
    rows: float, batch: int, epochs: float, most: int | None = None
) -> tuple[int, float]:
    """(optimiser steps, rows they take), as `engine/batches.py` plans them."""
    per_epoch = math.ceil(rows / batch)
    steps = max(1, math.ceil(per_epoch * epochs))
    steps = steps if most is None else min(steps, most)
    whole, rest = divmod(steps, per_epoch)
    return steps, whole * rows + min(rest * batch, rows)


class SizeCache:
    """Sizes of many runs; headers are read once per model, scenario and data."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[Shape | None, dict[str, Lengths | None]]] = {}

    def size(self, run: RunConfig, folders: Callable[[], Mapping[str, Path]]) -> RunSize:
        """folders: where the rows of each side and pair set are, or would be, as token ids; called
        when the model, scenario, data and pair sets are new."""
        at = (run.model, run.scenario, run.data, run.evaluation.pair_sets)
        if at not in self._known:
            tokens = folders()
            sides = (*run.data.sides(), *([DEMONSTRATIONS] if run.trains_sft else []))
            stored = {s: stored_lengths(tokens[s]) if s in tokens else None for s in sides}
            lengths = {
                side: stored[side] or run.data.expected(side) or published_lengths(run, side)
                for side in sides
            }
            for name, one in pair_sets(run.evaluation.pair_sets).items():
                found = stored_lengths(tokens[rows]) if (rows := pairs_of(name)) in tokens else None
                lengths[rows] = found or one.expected(run.data.max_length)
            self._known[at] = start_shape(run), lengths
        return RunSize(run, *self._known[at])


def side_of(what: str) -> str:
    """The side of the data that a `tokens` stage is of: its `what` is "train rows"."""
    return what.removesuffix(" rows")


def stored_lengths(tokens: Path) -> Lengths | None:
    """Lengths of a `tokens` artefact, from the header of its ids; None when it is not there."""
    file = tokens / "tokens.safetensors"
    if not file.is_file():
        return None
    sizes = {name: shape[0] for name, (shape, _) in tensors(file).items()}
    rows, responses = sizes["num_responses"], sizes["response_offsets"] - 1
    if not rows:
        return None
    return Lengths(
        rows, sizes["prompt_ids"] / rows, sizes["response_ids"] / responses, responses / rows
    )


def published_lengths(run: RunConfig, side: str) -> Lengths | None:
    """Of a side that is a data set of the Hub whose size is published; None: it is none."""
    data, key = run.data, side if side in (TEST, DEMONSTRATIONS) else TRAIN
    found = ROWS.get((getattr(data, key, ""), getattr(data, f"{key}_split", "")))
    most = getattr(data, "max_rows" if side == TRAIN else "max_test_rows", None)
    return found if found is None or most is None else replace(found, rows=min(found.rows, most))


def start_shape(run: RunConfig) -> Shape | None:
    """Shape of the run's start model; None for a model whose files are not on this machine, unless
    its shape is published."""
    source, made = run.start_source, run.model.pretraining
    if source == "here":
        from tiebreak.data.world import describe

        assert made is not None
        vocabulary: Any = describe()["vocabulary"]
        return llama(
            vocabulary, made.hidden_size, made.intermediate_size, made.layers, made.heads
        )  # fmt: skip
    try:
        folder = checkpoint_folder(source) or _cached_folder(source, run.model.revision)
        while folder is not None and (base := adapter_base(folder)) is not None:
            place, revision = base
            folder = checkpoint_folder(place) or _cached_folder(place, revision)
    except UserError:  # the folder of a record's model has gone; a run that is composed has it
        return None
    if folder is not None:
        return checkpoint_shape(folder)
    return (
        llama(*sizes[:-1], kv_heads=sizes[-1], tied=False)
        if (sizes := MODELS.get(source))
        else None
    )


@functools.lru_cache
def _judge_shape(model: str, revision: str | None) -> Shape | None:
    try:
        folder = checkpoint_folder(model) or _cached_folder(model, revision)
    except UserError:
        return None
    return None if folder is None else checkpoint_shape(folder)


def _cached_folder(hub_id: str, revision: str | None) -> Path | None:
    """Where `huggingface_hub` keeps this revision, if it has its config. Asks no server."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    return Path(config).parent if isinstance(config, str) else None


def llama(
    vocabulary: int,
    hidden: int,
    intermediate: int,
    layers: int,
    heads: int,
    *,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    tied: bool = True,
) -> Shape:
    """No biases, two norms a layer and one at the end; `tied`: the head is the embedding."""
    dim = head_dim or hidden // heads
    queries, keys = heads * dim, (kv_heads or heads) * dim
    linear = {
        "q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys),
        "o_proj": (queries, hidden), "gate_proj": (hidden, intermediate),
        "up_proj": (hidden, intermediate), "down_proj": (intermediate, hidden),
    }  # fmt: skip
    layer = sum(i * o for i, o in linear.values()) + 2 * hidden
    total = (1 if tied else 2) * vocabulary * hidden + layers * layer + hidden
    modules = tuple((name, layers * (i + o)) for name, (i, o) in linear.items())
    return Shape(total, layers, hidden, intermediate, vocabulary, modules, tied)


def checkpoint_shape(folder: Path) -> Shape | None:
    """From the headers of the weights; without weights, config.json read as a Llama's."""
    content = json.loads((folder / "config.json").read_text())
    config = content.get("text_config", content)

    def named(*names: str) -> int:
        return next((int(config[name]) for name in names if config.get(name)), 0)

    layers, hidden = named("num_hidden_layers", "n_layer"), named("hidden_size", "n_embd")
    intermediate = named("intermediate_size", "n_inner", "ffn_dim") or 4 * hidden
    vocabulary, heads = named("vocab_size"), named("num_attention_heads", "n_head")
    tied = bool(config.get("tie_word_embeddings", False))
    weights = _weights(folder)
    if tied:
        weights.pop("lm_head.weight", None)  # a copy of the embedding
    if not weights:
        if not (layers and hidden and vocabulary and heads):
            return None
        return llama(
            vocabulary, hidden, intermediate, layers, heads, tied=tied,
            kv_heads=named("num_key_value_heads") or None, head_dim=named("head_dim") or None,
        )  # fmt: skip
    sizes: Counter[str] = Counter()
    for name, shape in weights.items():
        module = re.search(r"\.(\w+)\.weight$", name)
        if module and len(shape) == 2:
            sizes[module[1]] += sum(shape)
    total = sum(math.prod(shape) for shape in weights.values())
    return Shape(total, layers, hidden, intermediate, vocabulary, tuple(sizes.items()), tied)


def _weights(folder: Path) -> dict[str, list[int]]:
    """Tensor name -> shape; none where the cache has not all of a Hub model's files."""
    try:
        files = weight_files(folder)
    except UserError:
        return {}
    return {name: shape for file in files for name, (shape, _) in tensors(file).items()}
