"""A model and a data set in numbers, from file headers and recipes; neither is loaded."""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak.config.identity import start_source
from tiebreak.config.schema import Lora, Run, WorldData
from tiebreak.errors import UserError
from tiebreak.home import checkpoint_folder

# Mean tokens of the controlled world at its default knobs: a prompt, a response, a document.
WORLD_PROMPT, WORLD_RESPONSE, WORLD_DOCUMENT = 19.0, 27.0, 51.0
BYTES_PER_TOKEN = 4  # of text that nobody has tokenised yet


@dataclass(frozen=True)
class Shape:
    """A causal LM. modules: linear layer -> (inputs + outputs), summed over the layers."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    modules: tuple[tuple[str, int], ...] = ()

    def adapter(self, lora: Lora) -> int:
        """Parameters of a LoRA adapter: rank x (inputs + outputs) of each target."""
        sizes = dict(self.modules)
        return lora.rank * sum(sizes.get(target, 0) for target in lora.targets)


@dataclass(frozen=True)
class Lengths:
    """Rows of one split, with mean tokens of a prompt and of a response, and responses a row."""

    rows: float
    prompt: float
    response: float
    responses: float = 2.0

    @property
    def tokens(self) -> float:
        return self.prompt + self.responses * self.response

    @property
    def positions(self) -> float:
        """Of a row in the network: see engine/rows.py."""
        return self.tokens - 1

    @property
    def single(self) -> float:
        """Positions of a prompt with one response."""
        return self.prompt + self.response - 1


def start_shape(run: Run) -> Shape | None:
    """Of the run's start model; None for a Hub model whose files are not in the cache."""
    source, made = start_source(run), run.model.pretraining
    if source == "here":
        from tiebreak.data.world import describe

        assert made is not None
        vocabulary: Any = describe()["vocabulary"]
        return llama(
            vocabulary, made.hidden_size, made.intermediate_size, made.layers, made.heads
        )  # fmt: skip
    folder = checkpoint_folder(source) or _cached_folder(source, run.model.revision)
    return None if folder is None else checkpoint_shape(folder)


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
    return Shape(total, layers, hidden, intermediate, vocabulary, modules)


def checkpoint_shape(folder: Path) -> Shape | None:
    """From the headers of the weights; without weights, config.json read as a Llama's."""
    found = json.loads((folder / "config.json").read_text())
    config = found.get("text_config", found)

    def named(*names: str) -> int:
        return next((int(config[name]) for name in names if config.get(name)), 0)

    layers, hidden = named("num_hidden_layers", "n_layer"), named("hidden_size", "n_embd")
    intermediate = named("intermediate_size", "n_inner", "ffn_dim") or 4 * hidden
    vocabulary, heads = named("vocab_size"), named("num_attention_heads", "n_head")
    tied = bool(config.get("tie_word_embeddings", False))
    tensors = _weights(folder)
    if tied:
        tensors.pop("lm_head.weight", None)  # a copy of the embedding
    if not tensors:
        if not (layers and hidden and vocabulary and heads):
            return None
        return llama(
            vocabulary, hidden, intermediate, layers, heads, tied=tied,
            kv_heads=named("num_key_value_heads") or None, head_dim=named("head_dim") or None,
        )  # fmt: skip
    sizes: Counter[str] = Counter()
    for name, shape in tensors.items():
        module = re.search(r"\.(\w+)\.weight$", name)
        if module and len(shape) == 2:
            sizes[module[1]] += sum(shape)
    total = sum(math.prod(shape) for shape in tensors.values())
    return Shape(total, layers, hidden, intermediate, vocabulary, tuple(sizes.items()))


def _weights(folder: Path) -> dict[str, list[int]]:
    """Tensor name -> shape; of the files that `from_pretrained` would take."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        files = [folder / name for name in names if (folder / name).is_file()]
    else:
        whole = folder / "model.safetensors"
        files = [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))
    return {name: shape for file in files for name, shape in header(file).items()}


def header(file: Path) -> dict[str, list[int]]:
    """Tensor name -> shape of a safetensors file: its first bytes are read, not its tensors."""
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > file.stat().st_size:
                raise ValueError("its header is longer than the file")
            entries: Mapping[str, Any] = json.loads(stream.read(size))
    except ValueError as error:
        raise UserError(f"{file} is no safetensors file ({error}); fetch or make it again") from (
            error
        )
    return {name: entry["shape"] for name, entry in entries.items() if name != "__metadata__"}


def _cached_folder(hub_id: str, revision: str | None) -> Path | None:
    """Where `huggingface_hub` keeps this revision, if it has its config. Asks no server."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"
    note = cache / "refs" / (revision or "main")  # a commit has no such note
    commit = note.read_text().strip() if note.is_file() else str(revision)
    folder = cache / "snapshots" / commit
    return folder if (folder / "config.json").is_file() else None


def stored_lengths(tokens: Path, side: str) -> Lengths | None:
    """Of a split in a `tokens` artefact, from the header of its ids; None when it is not there."""
    file = tokens / side / "tokens.safetensors"
    if not file.is_file():
        return None
    sizes = {name: shape[0] for name, shape in header(file).items()}
    rows, responses = sizes["num_responses"], sizes["response_offsets"] - 1
    if not rows:
        return None
    return Lengths(
        rows, sizes["prompt_ids"] / rows, sizes["response_ids"] / responses, responses / rows
    )


def expected_lengths(run: Run, side: str) -> Lengths | None:
    """Of a split nobody has tokenised: the world's means, a file's rows and bytes; None for a Hub
    data set. side: "train", "test", "validation" or "demonstrations"."""
    data = run.data
    if isinstance(data, WorldData):
        rows = {"train": data.num_pairs, "demonstrations": data.num_demonstrations}
        alone = side == "demonstrations"
        return Lengths(
            rows.get(side, data.num_test_pairs), WORLD_PROMPT, WORLD_RESPONSE, 1 if alone else 2
        )
    test, validation = data.test_share if data.test is None else 0.0, data.validation_share
    kept = {"train": (1 - test) * (1 - validation), "validation": (1 - test) * validation}
    source, share, most = data.train, kept.get(side, test), data.max_test_rows
    if side == "train":
        most = data.max_rows
    if side == "test" and data.test is not None:
        source, share = data.test, 1.0
    if side == "demonstrations":
        source, share, most = data.demonstrations, 1.0, None
    if source is None or not Path(source).is_file():
        return None
    rows, size = _rows_and_bytes(source, Path(source).stat().st_mtime_ns)
    # A prompt and its responses are taken to be of one length, and cut at the limit.
    parts = 2 if side == "demonstrations" else 3
    each = min(size / max(rows, 1) / BYTES_PER_TOKEN / parts, data.max_length / 2)
    total = rows * share if most is None else min(rows * share, most)
    return Lengths(total, each, each, parts - 1)


@functools.lru_cache
def _rows_and_bytes(source: str, stamp: int) -> tuple[int, int]:
    path = Path(source)
    if path.suffix == ".parquet":
        from pyarrow import parquet

        about: Any = parquet.ParquetFile(path).metadata
        groups = [about.row_group(i).total_byte_size for i in range(about.num_row_groups)]
        return about.num_rows, sum(groups)
    with path.open("rb") as stream:
        rows = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    return rows, path.stat().st_size
