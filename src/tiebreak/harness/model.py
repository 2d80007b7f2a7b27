"""The model that lm-eval asks: its own tokens and its own generation, shared beginnings once.

Requests are turned into token ids by lm-eval's class for models of transformers, so that they are
the same as everywhere; what is scored goes through `engine.prefixes`, in which examples and
questions that several requests begin with are computed once. What is written is lm-eval's own
generation, whose batches find in their cache what all prompts of a task begin with. The first of
either is held against the model's own forward; where they differ, lm-eval's own way is taken.
Answers are kept in a file as they come: a benchmark that was killed goes on in the middle.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs

from tiebreak.data.template import pin
from tiebreak.engine.causal_lm import plain_forward
from tiebreak.engine.generation import Header, header_off
from tiebreak.engine.prefixes import Pack, PrefixScorer, Text, TextScore, shared
from tiebreak.engine.probe import FAILURES, TOLERANCE
from tiebreak.engine.progress import progress
from tiebreak.engine.scoring import causal_lm_of, install
from tiebreak.errors import UserError
from tiebreak.kept_answers import KeptAnswers

BUDGET = 256  # new tokens of a forward; 128 to 256 is quickest on a CPU
TOGETHER = 4  # batches between two writes
HEADER = 16  # tokens: a shorter beginning is not worth a cache of its own
PREFIXES = "prefixes"
APART = "lm-eval's own, as the prompts share no beginning"
HOW = "how"  # in the file of answers, beside requests: why it is lm-eval's own way


class Different(Exception):
    """Scores by shared prefixes are not the model's own."""


class PrefixLM(HFLM):
    """positions: what the requests took through the network, padding included, but for what is
    written and for log-probs in lm-eval's own way. how: "prefixes", or why it is lm-eval's own way.
    cut: requests that are longer than the model takes. template: the study's arguments of the chat
    template."""

    def __init__(
        self, model: Any, tokenizer: Any, batch_size: int, kept: KeptAnswers, *,
        budget: int = BUDGET, head_chunk: int = 256, what: str = "benchmark",
        template: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        install(model, head_chunk)
        super().__init__(
            pretrained=model, tokenizer=tokenizer, batch_size=batch_size,
            chat_template_args=dict(template),
        )  # fmt: skip
        self._kept, self._budget, self._what = kept, budget, what
        self.how = self._kept.get(HOW) or PREFIXES
        self.positions, self.requests, self.cut = 0, 0, 0
        self._header: Header | None = None
        self._apart: bool | None = None  # whether no prompts begin alike; None: there are none
        self._checked = {"first": False, "cached": False, "header": False}

    def _loglikelihood_tokens(
        self, requests: list[Any], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        texts = [self._text(context, answer) for _, context, answer in requests]
        long = sum(len(context) + len(answer) > self.max_length + 1
                   for _, context, answer in requests)  # fmt: skip
        self._say_cut(long, len(requests), self.max_length)
        names = [_name(text) for text in texts]
        missing = self._missing(names)
        with progress(self._what, len(missing)) as advance:
            if missing and self.how == PREFIXES:
                try:
                    asked = [texts[i] for i in missing], [names[i] for i in missing]
                    self._by_prefixes(*asked, advance)
                except Different as error:
                    self._other_way(error)
            missing = self._missing(names)
            together = TOGETHER * int(self.batch_size)
            for at in range(0, len(missing), together):
                part = missing[at : at + together]
                found = super()._loglikelihood_tokens([requests[i] for i in part], True)
                self._kept.add({names[i]: list(one) for i, one in zip(part, found, strict=True)})
                advance(len(part))
        answers = [self._kept.get(name) or self._of_another((0.0, False)) for name in names]
        return [(logp, greedy) for logp, greedy in answers]

    def told(self) -> dict[str, Any]:
        """How the requests were computed, for the record: plain JSON."""
        way = APART if self._apart and self.how == PREFIXES else self.how
        return {"way": way, "requests": self.requests, "cut": self.cut}

    def _other_way(self, error: Exception) -> None:
        kind = "" if isinstance(error, Different | ValueError) else f"{type(error).__name__}: "
        self.how = kind + str(error).partition("\n")[0]
        self._kept.add({HOW: self.how})
        self._say(f"lm-eval's own way is taken: {self.how}")

    def _say_cut(self, number: int, of: int, most: int) -> None:
        self.requests, self.cut = self.requests + of, self.cut + number
        if number:
            self._say(f"{number} of {of} requests are longer than the model's {most} tokens and "
                      "are cut on the left")  # fmt: skip

    def _say(self, words: str) -> None:
        print(f"{self._what}: {words}", file=sys.stderr, flush=True)

    def _text(self, context: list[int], answer: list[int]) -> Text:
        """Cut on the left to what the model takes, as lm-eval cuts it."""
        return Text([*context, *answer][-(self.max_length + 1) :], len(answer))

    def _by_prefixes(
        self, texts: Sequence[Text], names: Sequence[str], advance: Callable[[int], object]
    ) -> None:
        scorer = PrefixScorer(self.model, texts, self._budget)
        try:
            for pack, scores in scorer:
                self._check(texts, pack, scores)
                answers = zip(pack.texts, scores, strict=True)
                self._kept.add({names[number]: list(score) for number, score in answers})
                advance(len(pack.texts))
        except torch.OutOfMemoryError:
            raise
        except FAILURES as error:
            raise Different(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from None
        self.positions += scorer.positions

    def _check(self, texts: Sequence[Text], pack: Pack, scores: Sequence[TextScore]) -> None:
        """Hold one text of the first pack, and one of the first that begins in the cache, against
        the model's own forward of that text alone."""
        kind = "cached" if pack.cached else "first"
        if self._checked[kind]:
            return
        self._checked[kind] = True
        text, score = texts[pack.texts[-1]], scores[-1]
        ids = torch.tensor([list(text.ids)], device=self.device)
        mixed = torch.is_autocast_enabled(self.device.type)
        with torch.no_grad():
            logits_TV = plain_forward(causal_lm_of(self.model))(ids, use_cache=False).logits[0]
        logp_TV = logits_TV[-text.scored - 1 : -1].float().log_softmax(-1)
        own = float(logp_TV.gather(1, ids[0, -text.scored :, None]).sum())
        off = abs(own - score.logp) / text.scored
        if not off <= (0.1 if mixed else TOLERANCE):
            raise Different(f"scores by shared prefixes are {off:.2g} nats per token off")

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """As lm-eval's class writes it, on the one date that templates see here."""
        tokenizer: Any = self.tokenizer
        pin(tokenizer)
        return super().apply_chat_template(chat_history, add_generation_prompt)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        names = [_name(one.args) for one in requests]
        missing = set(self._missing(names))
        together = TOGETHER * int(self.batch_size)
        with progress(self._what, len(missing)) as advance:
            for numbers in _by_task(requests):
                prompts = self._prompts([requests[i] for i in numbers])
                longest = sorted(zip(numbers, prompts, strict=True), key=lambda one: -len(one[1]))
                left = [i for i, _ in longest if i in missing]
                length = shared(min(prompts), max(prompts)) if len(prompts) > 1 else 0
                self._apart = self._apart is not False and length < HEADER
                asked = left and length >= HEADER and self.how == PREFIXES
                self._header = self._begun(prompts, length) if asked else None
                for at in range(0, len(left), together):
                    part = left[at : at + together]
                    found = super().generate_until([requests[i] for i in part], True)
                    self._kept.add({names[i]: text for i, text in zip(part, found, strict=True)})
                    advance(len(part))
        self._header = None
        answers = [self._kept.get(name) for name in names]
        return [self._of_another("") if one is None else one for one in answers]

    def _missing(self, names: Sequence[str]) -> list[int]:
        """Places of the requests that are not answered and are of this process's share: requests
        of one question are neighbours, and stay together."""
        return [i for i in self._kept.share.block(len(names)) if self._kept.get(names[i]) is None]

    def _of_another(self, answer: Any) -> Any:
        """In place of what another process answers: what this one returns is not read."""
        assert not self._kept.share.whole, "everything was asked"
        return answer

    def _prompts(self, requests: Sequence[Any]) -> list[list[int]]:
        """Token ids as lm-eval's class gives them to the model; those that are cut are counted."""
        ids, mask = self.tok_batch_encode([one.args[0] for one in requests])
        prompts = [row[seen.bool()].tolist() for row, seen in zip(ids, mask, strict=True)]
        most = max(normalize_gen_kwargs(one.args[1], self.max_gen_toks)["max_gen_toks"]
                   for one in requests)  # fmt: skip
        room = self.max_length - most
        if room <= 0:
            raise UserError(
                f"evaluation.benchmarks: {self._what} writes answers of up to {most} tokens, and "
                f"the model takes {self.max_length} with the question; leave it out for this model"
            )
        self._say_cut(sum(len(one) > room for one in prompts), len(prompts), room)
        return prompts

    def _begun(self, prompts: Sequence[list[int]], length: int) -> Header | None:
        """So many tokens, with which all these prompts begin, in a cache; None where that does not
        give what the model's own forward does."""
        begin, tokenizer = prompts[0][:length], self.tokenizer
        assert tokenizer is not None
        try:
            with torch.autocast(self.device.type, enabled=False):  # as in lm-eval's generation
                header = Header(self.model, begin)
            if not self._checked["header"]:
                self._checked["header"] = True
                off = header_off(self.model, prompts, begin, int(tokenizer.pad_token_id))
                if not off <= TOLERANCE:
                    raise Different(f"answers after a shared beginning are {off:.2g} nats off")
        except torch.OutOfMemoryError:
            raise
        except (*FAILURES, Different) as error:
            self._other_way(error)
            return None
        self.positions += length
        return header

    def _model_generate(
        self, context: Any, max_length: int, stop: list[str], **more: Any
    ) -> torch.Tensor:
        columns, mask = 0, more["attention_mask"]
        if self._header is not None and (columns := self._header.cached(context, mask)):
            more["past_key_values"] = self._header.cache(mask, columns)
        self.positions += len(context) * (context.shape[1] - columns)
        return super()._model_generate(context, max_length, stop, **more)


def _by_task(requests: Sequence[Any]) -> list[list[int]]:
    """Numbers of the requests, in groups of one task each."""
    found: dict[str, list[int]] = {}
    for number, request in enumerate(requests):
        found.setdefault(str(request.task_name), []).append(number)
    return list(found.values())


def _name(request: Any) -> str:
    return hashlib.sha256(json.dumps(request).encode()).hexdigest()[:32]
