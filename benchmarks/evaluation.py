"""One benchmark by shared prefixes and by lm-eval's own class: equal numbers, and what they took.

    python benchmarks/evaluation.py --model DIR --mirror DIR --task arc_challenge --shots 25 \\
        --limit 100 --json

Each side is a process of its own, so that its memory is its own. lm-eval's takes the batch size of
--batch-sizes that is fastest on the first --try questions. positions_per_unique_token: positions
through the network over the tokens of the tree of all requests; of benchmarks that are answered in
words, of the prompts alone, padding included. max_abs_difference: of the log-probs of the requests
(nats). memory: most of the process, MiB. cpu_seconds_beside_the_model: to read the data and write
the requests, to tell tokens and score answers; when_asked_again: the same of a second model in the
process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tiebreak.harness.tasks import Benchmark  # noqa: E402


class Requests:
    """What a benchmark has read, as token ids: texts without their last token, or prompts."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def note(self, lm: Any) -> None:
        """From here on, what this model is asked."""
        scored, prompts = lm._loglikelihood_tokens, lm._prompts

        def scoring(asked: list[Any], *more: Any, **how: Any) -> Any:
            self.seen += [(*context, *answer)[:-1] for _, context, answer in asked]
            return scored(asked, *more, **how)

        def prompting(requests: Any) -> Any:
            self.seen += map(tuple, found := prompts(requests))
            return found

        lm._loglikelihood_tokens, lm._prompts = scoring, prompting

    def unique_tokens(self) -> int:
        """Tokens that predict another, each once however many requests begin with it."""
        tokens, before = 0, ()
        for ids in sorted(self.seen):
            pairs = enumerate(zip(before, ids, strict=False))
            shared = next((n for n, (a, b) in pairs if a != b), min(len(before), len(ids)))
            tokens, before = tokens + len(ids) - shared, ids
        return tokens


def measured(lm: Any, args: argparse.Namespace) -> tuple[list[dict[str, Any]], float, float]:
    """(rows of `ask`, seconds that the model's part of it took, CPU seconds of the rest)."""
    from tiebreak.harness.ask import ask

    taken, cpu, begun = 0.0, 0.0, time.process_time()
    for name in ("_loglikelihood_tokens", "generate_until"):
        own = getattr(lm, name)

        def timed(*given: Any, own: Any = own, **more: Any) -> Any:
            nonlocal taken, cpu
            start, start_cpu = time.perf_counter(), time.process_time()
            found = own(*given, **more)
            taken += time.perf_counter() - start
            cpu += time.process_time() - start_cpu
            return found

        setattr(lm, name, timed)
    rows = ask(
        lm, Benchmark(args.task, args.shots), questions=args.limit, chat_template=False,
        mirror=args.mirror,
    )  # fmt: skip
    return rows, taken, time.process_time() - begun - cpu


def one_side(args: argparse.Namespace) -> dict[str, Any]:
    """What this process found: its rows, seconds and memory. args.side: "ours", or the batch size
    of lm-eval's class."""
    from tiebreak.engine.models import load_model, load_tokenizer

    model, tokenizer = load_model(args.model), load_tokenizer(args.model)
    if args.side != "ours":
        from lm_eval.models.huggingface import HFLM

        lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=int(args.side))
        rows, seconds, _ = measured(lm, args)
        return {"rows": rows, "seconds": seconds, "memory": peak_memory()}
    from tiebreak.harness.model import PrefixLM
    from tiebreak.kept_answers import KeptAnswers

    requests = Requests()
    ours = PrefixLM(model, tokenizer, 8, KeptAnswers(None), budget=args.budget)
    requests.note(ours)
    rows, seconds, first = measured(ours, args)
    another = PrefixLM(model, tokenizer, 8, ours._kept)
    _, _, again = measured(another, args)
    unique = requests.unique_tokens()
    return {
        "rows": rows, "seconds": seconds, "memory": peak_memory(), **ours.told(),
        "positions_per_unique_token": ours.positions / unique if unique else None,
        "cpu_seconds_beside_the_model": first, "cpu_seconds_when_asked_again": again,
    }  # fmt: skip


def peak_memory() -> float:
    """Most memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def side(args: argparse.Namespace, name: str, limit: int | None) -> dict[str, Any]:
    """What a process of that side found over the first `limit` questions."""
    words = [sys.executable, __file__, "--model", args.model, "--mirror", args.mirror, "--task",
             args.task, "--budget", str(args.budget), "--side", name]  # fmt: skip
    words += [] if args.shots is None else ["--shots", str(args.shots)]
    words += [] if limit is None else ["--limit", str(limit)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(args: argparse.Namespace) -> dict[str, Any]:
    ours, tried = side(args, "ours", args.limit), {}
    sizes = list(map(str, args.batch_sizes))
    if len(sizes) > 1:
        tried = {size: side(args, size, args.questions_tried)["seconds"] for size in sizes}
    best = min(tried, key=tried.__getitem__, default=sizes[0])
    theirs = side(args, best, args.limit)
    pairs = list(zip(ours["rows"], theirs["rows"], strict=True))
    logps = [(a, b) for r, o in pairs
             for a, b in zip(r.get("logp", ()), o.get("logp", ()), strict=True)]  # fmt: skip

    def different(what: str) -> int:
        return sum(r.get(what) != o.get(what) for r, o in pairs)

    return {
        "task": args.task, "shots": args.shots, "questions": len(pairs), "how": ours["way"],
        "cut": ours["cut"],
        "ratio_wall": theirs["seconds"] / ours["seconds"],
        "positions_per_unique_token": ours["positions_per_unique_token"],
        "max_abs_difference": max((abs(a - b) for a, b in logps), default=0.0),
        "different_scores": different("scores"), "different_answers": different("answer"),
        "scores": means(ours["rows"]), "scores_lm_eval": means(theirs["rows"]),
        "seconds": ours["seconds"], "seconds_lm_eval": theirs["seconds"],
        "memory": ours["memory"], "memory_lm_eval": theirs["memory"],
        **{name: one for name, one in ours.items() if name.startswith("cpu_seconds")},
        "batch_size_lm_eval": int(best), "seconds_tried_lm_eval": tried,
    }  # fmt: skip


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {name: sum(r["scores"][name] for r in rows) / len(rows) for name in rows[0]["scores"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a model")
    parser.add_argument("--mirror", required=True, help="folder of tiebreak mirror make")
    parser.add_argument("--task", required=True)
    parser.add_argument("--shots", type=int)
    parser.add_argument("--limit", type=int, help="questions; without it all")
    parser.add_argument("--budget", type=int, default=256, help="new tokens of a forward, ours")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--try", dest="questions_tried", type=int, default=8, metavar="N",
                        help="questions on which the batch sizes are tried")  # fmt: skip
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args()
    if args.side:
        print(json.dumps(one_side(args)))
        return 0
    found = compare(args)
    if args.json:
        print(json.dumps(found))
    else:
        print(
            f"{found['task']}: {found['ratio_wall']:.1f} times as fast as lm-eval at batch size "
            f"{found['batch_size_lm_eval']}; {found['positions_per_unique_token']:.3f} positions "
            f"per unique token; log-probs at most {found['max_abs_difference']:.1e} nats apart; "
            f"memory {found['memory']:.0f} MiB against {found['memory_lm_eval']:.0f}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
