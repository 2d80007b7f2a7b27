"""One architecture, tried: rows, gradient, LoRA, generation, save and load, against plain forwards.

Nothing here uses the engine to judge the engine: what is right is one forward of a second copy of
the model per conversation, with the logits that it gives itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import preset
from benchmarks.model_shapes import FIRST, VOCAB, random_weights, small_config
from tiebreak.engine import rows as row_layout
from tiebreak.engine.generation import generate
from tiebreak.engine.models import linear_layers, load_model, trainable
from tiebreak.engine.probe import FAILURES, probe
from tiebreak.engine.rows import Branches, Layout
from tiebreak.engine.scoring import causal_lm_of, disable_noise, install, score
from tiebreak.errors import UserError

NEAR = 1e-3  # nats per token, and the share of a gradient's norm, that float32 may be off
ROUNDING = 1e-5  # nats: loaded weights may lie in memory otherwise, and add up otherwise
MOVES = 1e-2  # nats by which a word of the prompt must move the log-probs, or nothing is shown
NEW = 6  # tokens generated for each prompt


def conversations() -> list[Branches]:
    """Ragged prompts with two responses that differ at once; the longest is longer than any
    window."""
    draw = random.Random(0)

    def ids(length: int) -> list[int]:
        return [draw.randrange(FIRST, VOCAB) for _ in range(length)]

    sizes = [(23, 17, 21), (3, 9, 2), (11, 5, 12), (7, 1, 6)]
    return [Branches(ids(prompt), [ids(a), ids(b)]) for prompt, a, b in sizes]


def plain(model: Any, row: Branches) -> list[Tensor]:
    """(T,) log-probs of each response's tokens, one forward each."""
    found = []
    for response in row.responses:
        ids = torch.tensor([[*row.prompt, *response]])
        logits = model(input_ids=ids, use_cache=False).logits[0, len(row.prompt) - 1 : -1]
        found.append(
            logits.double().log_softmax(-1).gather(1, ids[0, len(row.prompt) :, None])[:, 0]
        )
    return found


def flat(values: list[list[Tensor]]) -> list[Tensor]:
    return [one for row in values for one in row]


def weighted(values: list[Tensor]) -> Tensor:
    """A sum in which every token has a weight of its own."""
    return torch.stack([(one * torch.linspace(-1, 1, len(one))).sum() for one in values]).sum()


def apart(found: list[Tensor], truth: list[Tensor]) -> float:
    """Largest difference in nats per token; inf where it is not a number."""
    worst = max(float((a.double() - b).abs().max()) for a, b in zip(found, truth, strict=True))
    return worst if worst == worst else float("inf")


def attempt(step: Callable[[], Any]) -> Any:
    """What `step` gives, or the first line of how it failed."""
    try:
        return step()
    except (*FAILURES, ArithmeticError, ImportError, LookupError, OSError) as error:
        line = str(error).strip().split("\n")[0]
        return f"{type(error).__name__}: {line}"[:300]


def tried(kind: str, folder: Path) -> dict[str, Any]:
    """The row of model type `kind`; its files lie below `folder` while it is tried."""
    began = time.monotonic()
    found: dict[str, Any] = {"kind": kind}
    failed = attempt(lambda: Trial(kind, folder).run(found))
    if isinstance(failed, str):
        found["error"] = failed
    return found | {"seconds": round(time.monotonic() - began, 1)}


class Trial:
    """A model of its kind, saved, and what its own forward gives."""

    def __init__(self, kind: str, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

        torch.manual_seed(0)
        config = small_config(kind)
        # A folder of an image-text model holds all of it; a run may load its text side alone.
        whole = type(config) in AutoModelForImageTextToText._model_mapping
        build: Any = AutoModelForImageTextToText if whole else AutoModelForCausalLM
        model: Any = build.from_config(config)
        random_weights(model)
        self.name, self.folder = type(model).__name__, folder
        self.rows = conversations()
        self.model = model.eval()
        model.save_pretrained(folder)

    def run(self, found: dict[str, Any]) -> None:
        found["class"] = self.name
        with torch.no_grad():
            self.truth = [plain(self.model, row) for row in self.rows]
            row = self.rows[1]
            other = Branches([row.prompt[0] ^ 1, *row.prompt[1:]], row.responses)
            moved = apart(plain(self.model, other), self.truth[1])
        if not moved > MOVES:
            raise ValueError(f"the prompt moves log-probs by {moved:.2g} nats: this shows nothing")
        found["saved"] = attempt(self.saved)
        if found["saved"] is not True:
            if found["saved"].startswith("UserError"):  # refused where a run loads it
                found |= {"layout": "refused", "why": found.pop("saved")}
            return
        layout = attempt(self.layout)
        if isinstance(layout, str) and not layout.startswith("UserError"):
            raise RuntimeError(f"neither scored nor refused: {layout}")
        if isinstance(layout, str):
            found |= {"layout": "refused", "why": layout}
            return
        found |= layout
        found["lora"] = attempt(lambda: self.lora(Layout(found["layout"])))
        found["generation"] = attempt(self.generation)

    def fresh(self) -> Any:
        """The model as a run loads it, with the scoring call."""
        model = load_model(self.folder)
        install(model)
        disable_noise(model)
        return model.train()

    def saved(self) -> bool | str:
        loaded = load_model(self.folder)
        with torch.no_grad():
            off = apart(flat([plain(loaded, row) for row in self.rows]), flat(self.truth))
        return off <= ROUNDING or "other log-probs"

    def scores(self, model: Any, layout: Layout) -> list[Tensor]:
        return score(model, row_layout.build(self.rows, 0, layout=layout)).logp

    def layout(self) -> dict[str, Any]:
        """The layout that the probe chooses, and how far log-probs and gradient of it are off."""
        model = self.fresh()
        chosen = probe(model, self.rows).layout
        scored = self.scores(model, chosen)
        weighted(scored).backward()
        other = load_model(self.folder)
        truth = flat([plain(other, row) for row in self.rows])
        weighted(truth).backward()
        why = "" if chosen is Layout.SHARED else attempt(lambda: self.why_not(Layout.SHARED))
        if chosen is Layout.ALONE:
            why += f"; separate: {attempt(lambda: self.why_not(Layout.SEPARATE))}"
        return {"layout": str(chosen), "off": apart(scored, flat(self.truth)), "why": why,
                "gradient": gradients_apart(model, other)}  # fmt: skip

    def why_not(self, layout: Layout) -> str:
        with torch.no_grad():
            scored = self.scores(self.fresh(), layout)
        first, second = (apart(scored[i::2], flat(self.truth)[i::2]) > NEAR for i in (0, 1))
        # In words: how far depends on the machine's sums.
        return "both responses off" if first and second else f"{'first' if first else 'second'} off"

    def lora(self, layout: Layout) -> bool | str:
        """Adapters on every linear layer: off they change nothing, a step trains them, and rows
        give what the adapted model's own forward does."""
        model = self.adapted()
        install(model)
        disable_noise(model)
        model.train()
        before = self.scores(model, layout)
        if (off := apart(before, flat(self.truth))) > NEAR:
            return f"at zero {off:.1g} nats off"
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
        for _ in range(2):  # the first step moves one of the two matrices alone
            loss = -torch.cat(self.scores(model, layout)[::2]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            after = self.scores(model, layout)
            if apart(after, before) < MOVES:
                return "steps change nothing"
            inner = causal_lm_of(model).eval()
            own = flat([plain(inner, row) for row in self.rows])
            if (off := apart(after, own)) > NEAR:
                return f"after two steps {off:.1g} nats off"
            with model.disable_adapter():
                off = apart(self.scores(model, layout), flat(self.truth))
        return off <= NEAR or f"switched off {off:.1g} nats off"

    def adapted(self) -> Any:
        """conf/train/lora.yaml, on all linear layers but what PEFT refuses by its name."""
        train, refused = preset("lora"), ("out_proj", "conv1d")
        names = linear_layers(load_model(self.folder))
        for targets in (names, [name for name in names if name not in refused]):
            try:
                lora = replace(train.lora, targets=tuple(targets))
                return trainable(load_model(self.folder), replace(train, lora=lora))
            except UserError as error:
                if "incompatible" not in str(error) or not set(refused) & set(targets):
                    raise
        raise AssertionError("the second try returns or raises")

    def generation(self) -> bool | str:
        """Greedy, prompts of several lengths at once, against a plain forward per token."""
        prompts = [list(row.prompt) for row in self.rows]
        found = generate(
            self.fresh().eval(), prompts, pad_id=0, end_ids=[FIRST - 1], max_new_tokens=NEW,
            temperature=0, batch_size=len(prompts), seed=0,
        )  # fmt: skip
        return found == [self.greedy(prompt) for prompt in prompts] or "other tokens"

    def greedy(self, prompt: list[int]) -> list[int]:
        ids = list(prompt)
        with torch.no_grad():
            for _ in range(NEW):
                logits = self.model(input_ids=torch.tensor([ids]), use_cache=False).logits
                ids.append(int(logits[0, -1].argmax()))
                if ids[-1] == FIRST - 1:
                    break
        return ids[len(prompt) :]


def gradients_apart(model: Any, other: Any) -> float:
    """Norm of the difference of two models' gradients, as a share of the second's norm."""
    total = difference = 0.0
    for (_, a), (_, b) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        mine, own = (torch.zeros_like(p) if p.grad is None else p.grad for p in (a, b))
        difference += float((mine - own).double().square().sum())
        total += float(own.double().square().sum())
    return (difference / total) ** 0.5
