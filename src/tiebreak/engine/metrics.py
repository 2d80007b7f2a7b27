"""Training metrics: one definition for all methods.

Every metric is a (sum, count) pair, added up over the micro-batches of an optimiser step, reduced
once over ranks, and divided at the end. `METRICS` is the one table; `docs/metrics.md` is made
from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from tiebreak.methods import Method, Pairs, Responses


@dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    over: str
    sentence: str


_RESPONSES = "mean over responses of the optimiser batch"
_PAIRS = "mean over pairs of the optimiser batch"
_STEP = "one value per optimiser step"

METRICS: tuple[Metric, ...] = (
    Metric("loss", "method's own", _PAIRS, "The loss that was differentiated; KTO: over "
           "responses."),
    Metric("reward/chosen", "method's own", _RESPONSES, "Implicit reward of chosen responses."),
    Metric("reward/rejected", "method's own", _RESPONSES, "Implicit reward of rejected ones."),
    Metric("reward/margin", "method's own", _PAIRS, "Reward of chosen minus rejected."),
    Metric("reward/accuracy", "share", _PAIRS, "Pairs whose chosen reward is higher; ties half."),
    Metric("drift/chosen", "nats", _RESPONSES, "Policy minus reference log-prob, chosen."),
    Metric("drift/rejected", "nats", _RESPONSES, "Policy minus reference log-prob, rejected."),
    Metric("drift/margin", "nats", _PAIRS, "Drift of chosen minus drift of rejected."),
    Metric("drift/chosen_per_token", "nats/token", _RESPONSES, "Drift over length, chosen."),
    Metric("drift/rejected_per_token", "nats/token", _RESPONSES, "Drift over length, rejected."),
    Metric("displaced/share", "share", _RESPONSES, "Chosen responses whose drift is negative."),
    Metric("logp/chosen", "nats", _RESPONSES, "Log-prob of chosen responses under the policy."),
    Metric("logp/rejected", "nats", _RESPONSES, "Log-prob of rejected responses."),
    Metric("length/chosen", "tokens", _RESPONSES, "Tokens of chosen responses, with the EOS."),
    Metric("length/rejected", "tokens", _RESPONSES, "Tokens of rejected responses."),
    Metric("entropy", "nats", "mean over scored positions", "Entropy of the policy's next token."),
    Metric("kl/mismatched", "nats", _RESPONSES, "Drift of mismatched responses; at 0 KTO clamps."),
    Metric("grad/norm", "1", _STEP, "Norm of the gradient before clipping."),
    Metric("learning_rate", "1", _STEP, "Learning rate of the step."),
    Metric("positions/unique_token", "1", "over the optimiser batch", "Positions through the "
           "network for each token of a prompt or a response, padding included."),
)  # fmt: skip
NAMES = frozenset(m.name for m in METRICS)
_PROMPTS, _HELD_OUT = "mean over evaluation prompts", "mean over held-out pairs"
EVALUATION: tuple[Metric, ...] = (
    Metric("gold/reward", "reward", _PROMPTS, "Gold reward of the generated answer (world data)."),
    Metric("gold/<part>", "part's own", _PROMPTS, "Its parts: helpfulness, faithfulness, tone, "
           "repetition, length (world data)."),
    Metric("win_rate/start", "share", _PROMPTS, "Gold reward above the start model's answer to the "
           "same prompt; ties half (world data)."),
    Metric("length/generated", "tokens", _PROMPTS, "Tokens of generated answers, with the EOS."),
    Metric("kl/reference", "nats", _PROMPTS, "Log-prob of the policy's own samples under the "
           "policy minus under the start model; only at temperature 1."),
    Metric("accuracy/likelihood", "share", _HELD_OUT, "Chosen has the higher log-prob; ties half."),
    Metric("accuracy/likelihood_per_token", "share", _HELD_OUT, "The same, per token."),
    Metric("accuracy/drift", "share", _HELD_OUT, "Chosen has the higher drift; ties half."),
    Metric("drift/chosen", "nats", _HELD_OUT, "Policy minus start model log-prob, chosen."),
    Metric("drift/rejected", "nats", _HELD_OUT, "The same for the rejected response."),
    Metric("displaced/share", "share", _HELD_OUT, "Chosen responses whose drift is negative."),
)  # fmt: skip
THROUGHPUT: tuple[Metric, ...] = (
    Metric("seconds", "s", _STEP, "From the start of the step to its log line."),
    Metric("pairs/s", "1/s", _STEP, "Rows of the data set per second, all ranks."),
    Metric("response_tokens/s", "1/s", _STEP, "Chosen and rejected tokens per second."),
    Metric("memory/peak", "MiB", _STEP, "Peak memory: of the device, else of the process."),
)

Sums = dict[str, tuple["Tensor", float]]


def metrics_page() -> str:
    """docs/metrics.md: the tables, for people."""
    head = "| name | unit | over | what it is |\n| --- | --- | --- | --- |\n"
    tables = [
        head + "".join(f"| `{m.name}` | {m.unit} | {m.over} | {m.sentence} |\n" for m in table)
        for table in (METRICS, THROUGHPUT, EVALUATION)
    ]
    return (
        "# Metrics\n\n"
        "One definition for all methods. A training metric is a sum and a count, added up\n"
        "over the micro-batches of an optimiser step and over all processes, and divided\n"
        "once; so no value depends on how a batch was cut. A metric that does not apply is\n"
        "absent: no drift without reference log-probs, no margin on unpaired data. Made from\n"
        "the table in\n"
        "`tiebreak/engine/metrics.py`.\n\n"
        f"## In `metrics.jsonl`, one object per optimiser step\n\n{tables[0]}\n"
        "## In `throughput.jsonl`\n\nTimes of this machine, on this day; never compared between "
        f"runs.\n\n{tables[1]}\n## In `result.json`, after training\n\n{tables[2]}"
    )


def observe(method: Method, pairs: Pairs, paired: bool) -> Sums:
    """(sum, count) of every metric that can be read off one micro-batch."""
    chosen_B, rejected_B = method.rewards(pairs)
    sums: Sums = {}
    for side, reward_B in (("chosen", chosen_B), ("rejected", rejected_B)):
        responses = getattr(pairs, side)
        if len(reward_B):
            sums[f"reward/{side}"] = _total(reward_B)
            sums |= _side(side, responses)
    if paired:
        margin_B = chosen_B - rejected_B
        sums["reward/margin"] = _total(margin_B)
        sums["reward/accuracy"] = _total((margin_B > 0).float() + 0.5 * (margin_B == 0).float())
        if pairs.chosen.reference is not None and pairs.rejected.reference is not None:
            sums["drift/margin"] = _total(pairs.chosen.drift() - pairs.rejected.drift())
    return sums


def _side(side: str, responses: Responses) -> Sums:
    sums: Sums = {
        f"logp/{side}": _total(responses.logp()),
        f"length/{side}": _total(responses.length()),
    }
    if responses.reference is not None:
        drift_B = responses.drift()
        sums[f"drift/{side}"] = _total(drift_B)
        sums[f"drift/{side}_per_token"] = _total(drift_B / responses.length())
        if side == "chosen":
            sums["displaced/share"] = _total((drift_B < 0).float())
    return sums


def _total(values_B: Tensor) -> tuple[Tensor, float]:
    return values_B.detach().double().sum(), float(len(values_B))


def add(total: Sums, more: Sums) -> None:
    """Add `more` to `total` in place."""
    for name, (value, count) in more.items():
        assert name in NAMES, f"metric {name!r} is not in the table"
        old, seen = total.get(name, (0.0, 0.0))
        total[name] = (old + value, seen + count)


def means(total: Sums, reduce: bool) -> dict[str, float]:
    """name -> mean; with `reduce`, summed over all ranks first (every rank must call)."""
    import torch

    names = [m.name for m in METRICS]
    flat = torch.zeros(len(names), 2, dtype=torch.float64)
    for i, name in enumerate(names):
        if name in total:
            flat[i, 0], flat[i, 1] = float(total[name][0]), total[name][1]
    if reduce:
        flat = _all_reduce(flat)
    return {n: float(s / c) for n, (s, c) in zip(names, flat, strict=True) if c > 0}


def _all_reduce(flat: Tensor) -> Tensor:
    import torch
    from torch import distributed

    # NCCL reduces on the device only; float64 survives both backends.
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    moved = flat.to(torch.device(device))
    distributed.all_reduce(moved)
    return moved.cpu()
