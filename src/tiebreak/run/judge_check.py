"""`tiebreak judge check`: a judge against pairs whose better answer people have named.

What it finds lies below the home in `judges/<judge's id>/<data>/`: every judgement, and
`check.json`, which tables that used the judge print under them.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tiebreak.compose import compose
from tiebreak.data.examples import Example, Message, answer_of, prompt_key
from tiebreak.data.read import fingerprint, read_preferences
from tiebreak.errors import UserError
from tiebreak.home import home
from tiebreak.judges.session import JUDGEMENTS, Judged, Question, failures, judge_all
from tiebreak.stages.evaluators.judged import (
    identity,
    judge_id,
    price_words,
    refuse_price,
    the_judge,
)
from tiebreak.track.record_format import CHECK, CHECK_FORMAT, JUDGES


def check(
    data: str, overrides: list[str], say: Callable[[str], None], pairs: int | None = None
) -> None:
    """Judge the pairs of `data` in both orders and say how often the judge sides with people.
    pairs: no more than so many. UserError: no judge, no pair, or the judge cannot go on."""
    run = compose(overrides)
    about = identity(run)
    judge, config = the_judge(run), run.evaluation.judge
    examples = _labelled(data)[:pairs]
    questions = [_question(example) for example in examples]
    words = price_words(run, judge, questions)
    refuse_price(config, words)
    say(words)
    folder = home() / JUDGES / judge_id(run) / f"{fingerprint(data)[:8]}-{len(questions)}"
    folder.mkdir(parents=True, exist_ok=True)
    found = judge_all(judge, questions, folder / JUDGEMENTS, config.repeats, config.sessions)
    told = _told(examples, found)
    named = {"id": judge_id(run), "name": judge.name, "revision": judge.revision, "how": about}
    content = {"format": CHECK_FORMAT, "judge": named, "data": data, **told}
    _write(folder / CHECK, content)
    for line in _lines(content):
        say(line)
    say(f"judgements: {folder / JUDGEMENTS}")


def _labelled(data: str) -> list[Example]:
    examples = [e for e in read_preferences(data) if e.unfit is None]
    found = [e for e in examples if len(e.responses) >= 2 and e.responses[0] != e.responses[-1]]
    if not found:
        raise UserError(f"{data} holds no pair of two answers; give pairs with chosen and rejected")
    return found


def _question(example: Example) -> Question:
    prompt: Any = example.prompt
    turns: tuple[Message, ...] = (
        ({"role": "user", "content": prompt},) if isinstance(prompt, str) else tuple(prompt)
    )
    better, worse = example.responses[0], example.responses[-1]
    return Question(example.id, turns, answer_of(better), answer_of(worse))


def _told(examples: list[Example], found: list[Judged]) -> dict[str, Any]:
    """What is known of the judge, as plain JSON."""
    from tiebreak_analysis.agreement import agreement
    from tiebreak_analysis.win_rates import Calibration, repeatability

    whole = [(e, one) for e, one in zip(examples, found, strict=True) if one.value is not None]
    counts = {"pairs": len(examples), "judged": len(whole), "failed": failures(found)}
    if not whole:
        raise UserError(
            f"the judge gave no verdict on any of {len(examples)} pairs: {counts['failed']}"
        )
    first, second = ([float(one.values[order] or 0) for _, one in whole] for order in (0, 1))
    lengths = [[len(answer_of(e.responses[side])) for e, _ in whole] for side in (0, -1)]
    prompts = [repr(prompt_key(e.prompt)) for e, _ in whole]
    of = agreement(first, second, *lengths, clusters=prompts)
    preference = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    sessions = ([one.value, *(session.value for session in one.again)] for _, one in whole)
    again = [values for values in sessions if len(values) > 1 and None not in values]
    repeated = {}
    if again:
        repeated = {"repeated": dataclasses.asdict(repeatability(*zip(*again, strict=True)))}
    return {
        **counts, "questions": len(Counter(prompts)), "agreement": of.rate.value,
        "low": of.low, "high": of.high, "kappa": of.kappa, "position_bias": of.position,
        "order_flips": of.flipped, "length_bias": of.length, "length_bias_error": of.length_error,
        "calibration": dataclasses.asdict(Calibration.symmetric(preference, prompts)),
        **repeated,
    }  # fmt: skip


def _lines(found: dict[str, Any]) -> Iterator[str]:
    judge = found["judge"]
    failed = ", ".join(f"{count} {what}" for what, count in found["failed"].items())
    yield f"judge {judge['name']} {judge['revision']}".rstrip() + f" (id {judge['id']})"
    yield (
        f"  judged            {found['judged']} of {found['pairs']} pairs in both orders"
        + (f" (calls that failed: {failed})" if failed else "")
    )
    yield (
        f"  agrees            {100 * found['agreement']:.1f} % of them, 95 % interval "
        f"{100 * found['low']:.1f} to {100 * found['high']:.1f}, over {found['questions']} prompts"
    )
    kappa = "not defined" if found["kappa"] is None else f"{found['kappa']:.3f}"
    yield f"  Cohen's kappa     {kappa}"
    yield (
        f"  position          {100 * found['position_bias']:+.1f} points for the first answer; "
        f"{100 * found['order_flips']:.1f} % of verdicts change with the order"
    )
    yield (
        f"  length            prefers the longer answer {100 * found['length_bias']:+.1f} ± "
        f"{196 * found['length_bias_error']:.1f} points more often than people do"
    )
    if again := found.get("repeated"):
        yield (
            f"  asked again       {100 * again['flips']:.1f} % of {again['questions']} verdicts "
            f"change, and all together by {100 * again['shift']:+.1f} points"
        )


def _write(file: Path, content: dict[str, Any]) -> None:
    partial = file.with_name(f".{file.name}")
    partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    os.replace(partial, file)
