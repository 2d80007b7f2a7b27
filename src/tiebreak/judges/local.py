"""A model on this machine as a judge: a generative one, or a scalar reward model.

A generative model is asked as an endpoint is, and its verdict is read from what it writes, or
(`reply=scored`, the default) from the log-probs that it gives to the verdicts: a small model that
cannot keep to a format still prefers one of them. A reward model gives each answer a number by
itself; the higher one wins, whatever the order. Weights are safetensors, and no code of a model
repository is run.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak.config.schema import JudgeConfig, JudgeReply
from tiebreak.data.examples import Example, Message
from tiebreak.data.template import render
from tiebreak.errors import UserError
from tiebreak.home import checkpoint_folder
from tiebreak.judges.judge import Call, Keep, Reply, Status
from tiebreak.judges.prompts import WORDINGS, prompt_of, read_reply
from tiebreak.metrics import above
from tiebreak.model_folder import CONFIG, json_object

KEPT_TOGETHER = 8  # calls whose replies are kept before the next are asked
BUDGET, OVERHEAD = 8192, 32  # positions of a forward pass, and what one costs beside them


def local_judge(config: JudgeConfig, precision: str, content: str = "") -> Local | Reward:
    """The judge in a folder, or of a Hub id. content: what names its weights. UserError: a setting
    is missing, or the model is of neither kind."""
    if not config.model:
        raise UserError(
            "evaluation.judge.kind=local needs evaluation.judge.model; give the folder or the Hub "
            "id of a generative or a reward model"
        )
    folder = checkpoint_folder(config.model)
    name = folder.name if folder is not None else config.model
    place: str | Path = folder or config.model
    classes = _classes(place, config.revision)
    common = (config, place, precision, name, content.rpartition("@")[2][:12])
    if any(one.endswith("ForSequenceClassification") for one in classes):
        return Reward(*common)
    if any(one.endswith(("ForCausalLM", "ForConditionalGeneration")) for one in classes):
        return Local(*common, repeats=config.reply is JudgeReply.WRITTEN)
    raise UserError(
        f"evaluation.judge.model={config.model}: {CONFIG} names {', '.join(classes) or 'no class'};"
        " a judge is a ...ForCausalLM, or a reward model (...ForSequenceClassification)"
    )


def _classes(place: str | Path, revision: str | None) -> list[str]:
    if isinstance(place, Path):
        return list(json_object(place / CONFIG).get("architectures") or ())
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(
        place, revision=revision or "main", trust_remote_code=False
    )
    return list(config.architectures or ())


@dataclass(frozen=True)
class _Weights:
    """What both kinds are. place: a folder or a Hub id."""

    config: JudgeConfig
    place: str | Path
    precision: str
    name: str
    revision: str
    repeats: bool = False
    grades: bool = True

    def tokenizer(self) -> Any:
        from tiebreak.engine.models import load_tokenizer

        return load_tokenizer(self.place, self.config.revision)


@dataclass(frozen=True)
class Local(_Weights):
    """A causal language model."""

    def ask(self, calls: Sequence[Call], keep: Keep) -> None:
        from tiebreak.engine.models import load_start

        if not calls:
            return
        model, tokenizer = load_start(self.place, self.config.revision), self.tokenizer()
        if not tokenizer.chat_template:
            raise UserError(
                f"evaluation.judge.model={self.config.model} has no chat template; a judge is "
                "asked in a conversation: give an instruction-tuned model"
            )
        most = _most_positions(model)
        for part in _parts(calls):
            for call, reply in self._replies(model, tokenizer, part, most):
                keep(call, reply)

    def _replies(
        self, model: Any, tokenizer: Any, calls: Sequence[Call], most: int
    ) -> Iterator[tuple[Call, Reply]]:
        from tiebreak.data.tokens import encode_prompts

        scored = self.config.reply is JudgeReply.SCORED
        asked: list[list[Message]] = [
            [{"role": "user", "content": prompt_of(call, reason=not scored)}] for call in calls
        ]
        prompts = encode_prompts(asked, tokenizer)
        room = 16 if scored else self.config.max_tokens
        fits = [len(prompt) + room <= most for prompt in prompts]
        for call, prompt, fit in zip(calls, prompts, fits, strict=True):
            if not fit:
                why = f"{len(prompt)} tokens and a reply do not fit into the judge's {most}"
                yield call, Reply(Status.ERROR, None, why)
        some = [i for i, fit in enumerate(fits) if fit]
        if not some:
            return
        give = self._scored if scored else self._written
        asked_calls, given = [calls[i] for i in some], [prompts[i] for i in some]
        yield from zip(asked_calls, give(model, tokenizer, asked_calls, given), strict=True)

    def _scored(
        self, model: Any, tokenizer: Any, calls: Sequence[Call], prompts: Sequence[list[int]]
    ) -> Iterator[Reply]:
        """The mean of the verdicts' values, each with its probability among them and as much as it
        counts."""
        from tiebreak.engine.models import autocast
        from tiebreak.engine.probe import probe
        from tiebreak.engine.reference import score_all
        from tiebreak.engine.rows import Branches
        from tiebreak.engine.scoring import install

        rows, values = [], []
        for call, prompt in zip(calls, prompts, strict=True):
            wording = WORDINGS[call.form]
            ends = [_ids(tokenizer, wording.begins + verdict) for verdict in wording.verdicts]
            rows.append(Branches(prompt, ends))
            values.append(list(wording.verdicts.values()))
        install(model)
        with autocast(self.precision):
            found = score_all(model, rows, pad_id=0, budget=BUDGET, overhead=OVERHEAD,
                              layout=probe(model, rows).layout)  # fmt: skip
        for row, worth, prompt in zip(found, values, prompts, strict=True):
            logps = [float(tokens.double().sum()) for tokens in row]
            highest = max(logps)
            if not math.isfinite(highest):
                yield Reply(Status.ERROR, None, "the judge's log-probs are not finite", len(prompt))
                continue
            shares = [math.exp(logp - highest) for logp in logps]
            counts = [s * weight for s, (_, weight) in zip(shares, worth, strict=True)]
            value = sum(c * v for c, (v, _) in zip(counts, worth, strict=True)) / sum(counts)
            raw = " ".join(f"{logp:.4f}" for logp in logps)
            weight = sum(counts) / sum(shares)
            yield Reply(Status.OK, value, raw, len(prompt), 0, weight)

    def _written(
        self, model: Any, tokenizer: Any, calls: Sequence[Call], prompts: Sequence[list[int]]
    ) -> Iterator[Reply]:
        from tiebreak.engine.generation import generate
        from tiebreak.engine.models import autocast

        ends = _end_ids(tokenizer)
        with autocast(self.precision):
            written = generate(
                model, prompts, pad_id=tokenizer.pad_token_id, end_ids=ends,
                max_new_tokens=self.config.max_tokens, batch_size=self.config.batch_size,
                temperature=self.config.temperature or 0.0, seed=calls[0].session,
            )  # fmt: skip
        for call, prompt, ids in zip(calls, prompts, written, strict=True):
            text = tokenizer.decode(ids, skip_special_tokens=True)
            cut = len(ids) >= self.config.max_tokens and ids[-1] not in ends
            verdict = read_reply(text, call.form, cut)
            yield Reply(
                verdict.status, verdict.value, text, len(prompt), len(ids), verdict.weight
            )  # fmt: skip


@dataclass(frozen=True)
class Reward(_Weights):
    """A model with one number for a conversation and its answer."""

    grades: bool = False

    def ask(self, calls: Sequence[Call], keep: Keep) -> None:
        if not calls:
            return
        model, tokenizer = self._model(), self.tokenizer()
        most, known = _most_positions(model), dict[str, float | None]()
        for part in _parts(calls):
            texts = {call: [_conversation(call, at, tokenizer) for at in range(len(call.answers))]
                     for call in part}  # fmt: skip
            new = dict.fromkeys(t for both in texts.values() for t in both if t not in known)
            known |= self._rewards(model, tokenizer, list(new), most)
            for call, both in texts.items():
                one, other = (known[text] for text in both)
                if one is None or other is None:
                    why = f"an answer does not fit into the judge's {most} tokens"
                    keep(call, Reply(Status.ERROR, None, why))
                else:
                    keep(call, Reply(Status.OK, above(one, other), f"{one:.6g} {other:.6g}"))

    def _model(self) -> Any:
        from transformers import AutoModelForSequenceClassification

        from tiebreak.engine.models import device

        try:
            model, found = AutoModelForSequenceClassification.from_pretrained(
                self.place, revision=self.config.revision or "main", use_safetensors=True,
                trust_remote_code=False, output_loading_info=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            said = str(error).splitlines()[0]
            raise UserError(f"judge {self.place} could not be loaded: {said}") from error
        if found["missing_keys"]:
            name = sorted(found["missing_keys"])[0]
            raise UserError(f"judge {self.place}: {name} is missing, and would be random")
        if model.config.num_labels != 1:
            raise UserError(
                f"judge {self.place} gives {model.config.num_labels} numbers; a reward model gives "
                "one (num_labels=1)"
            )
        return model.float().to(device()).eval()

    def _rewards(
        self, model: Any, tokenizer: Any, texts: Sequence[str], most: int
    ) -> dict[str, float | None]:
        """One by one: padding is no part of what such models were trained on."""
        import torch

        from tiebreak.engine.models import autocast

        found: dict[str, float | None] = {}
        for text in texts:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(ids) > most:
                found[text] = None
                continue
            given = torch.tensor([ids], device=next(model.parameters()).device)
            with torch.no_grad(), autocast(self.precision):
                found[text] = float(model(input_ids=given).logits[0, 0].float())
        return found


def _conversation(call: Call, place: int, tokenizer: Any) -> str:
    turns = [*call.conversation(place), {"role": "assistant", "content": call.answers[place]}]
    return render(turns, tokenizer, "the reward model", {}, prompt=False)


def _parts(calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
    return (calls[at : at + KEPT_TOGETHER] for at in range(0, len(calls), KEPT_TOGETHER))


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _end_ids(tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end a reply: EOS, and the mark of this chat template where it is another."""
    from tiebreak.data.tokens import Limits, tokenise

    probe = Example("probe", [{"role": "user", "content": "a"}], ("b",), where="the judge")
    return tokenise([probe], tokenizer, Limits(tokenizer.model_max_length))[1].end_ids


def _most_positions(model: Any) -> int:
    from tiebreak.engine.probe import position_limit

    return position_limit(model) or sys.maxsize
