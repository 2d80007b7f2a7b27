"""Which of transformers' causal language models can be scored, trained and asked, and how.

    python benchmarks/models.py                    (all, in two processes; then docs/models.md)
    python benchmarks/models.py --only llama mpt   (these again, the rest as it was found)
    python benchmarks/models.py --resume           (what is missing)

Each architecture is built with small sizes and random weights, saved, loaded as a run loads it, and
tried (benchmarks/model_trial.py). What was found is kept in results/models.json, from which the
page is written. An architecture that fails is a row with its error.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that the script runs without PYTHONPATH

PAGE, RESULTS = ROOT / "docs" / "models.md", ROOT / "results" / "models.json"
LIMIT = 180  # seconds for one architecture
Row = dict[str, Any]
# Not causal language models on token ids alone, and why; never a failure that we have not read.
APART = {
    "gemma3n": "its image side needs the package timm; the text side is `gemma3n_text`",
    "gemma4_assistant": "drafts for another model, and needs that model's states",
    "gemma4_unified_assistant": "drafts for another model, and needs that model's states",
    "musicgen": "predicts audio codes, several at each place",
    "musicgen_melody": "predicts audio codes, several at each place",
}


def kinds() -> list[str]:
    """Model types with a causal language model, as transformers names them."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def image_kinds() -> list[str]:
    """Those of image-text models that are not among `kinds`."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return sorted(set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES) - set(kinds()))


def text_side(kind: str) -> Row:
    """An image-text model: the type of its text side, and what loading it as one says."""
    from transformers import CONFIG_MAPPING

    from tiebreak.engine.models import load_model
    from tiebreak.errors import UserError

    config = CONFIG_MAPPING[kind]()
    text = config.get_text_config(decoder=True).model_type
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        try:
            load_model(folder)
        except UserError:
            return {"kind": kind, "text": text}
    raise AssertionError(f"{kind} is loaded as a causal language model, and is not tried")


def one(kind: str) -> Row:
    """The row of `kind`, in a worker, within `LIMIT` seconds."""
    warnings.simplefilter("ignore")
    from benchmarks.model_trial import attempt, tried

    signal.signal(signal.SIGALRM, _late)
    signal.alarm(LIMIT)
    try:
        if kind in kinds():
            with tempfile.TemporaryDirectory() as folder:
                return tried(kind, Path(folder))
        found = attempt(lambda: text_side(kind))
        return found if isinstance(found, dict) else {"kind": kind, "text": "", "error": found}
    finally:
        signal.alarm(0)


def _late(*_: Any) -> None:
    raise TimeoutError(f"took more than {LIMIT} s")


def start_worker() -> None:
    import torch
    from transformers import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)


def run(wanted: Iterable[str], workers: int) -> Iterable[Row]:
    """The rows of the architectures wanted, as they are found."""
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker) as pool:
        for done in as_completed([pool.submit(one, kind) for kind in wanted]):
            yield done.result()


def is_right(row: Row) -> bool:
    """Scored in some layout, and log-probs and gradient are the model's own."""
    return row.get("layout", "refused") != "refused" and not is_wrong(row)


def is_wrong(row: Row) -> bool:
    """A layout was chosen whose numbers are not the model's own."""
    from benchmarks.model_trial import NEAR

    off = row.get("off", 0.0), row.get("gradient", 0.0)
    return not max(off) <= NEAR or any(value != value for value in off)


def cells(row: Row) -> list[str]:
    """What the page says of an architecture; nothing that another machine would round otherwise."""
    kind = f"`{row['kind']}`"
    if "layout" not in row:
        why = row.get("error") or f"saved and loaded: {row['saved']}"
        return [kind, "not tried", said(why), "", "", ""]
    layout = "**wrong**" if is_wrong(row) else row["layout"]
    rest = (verdict(row.get(key)) for key in ("lora", "generation", "saved"))
    return [kind, layout, said(row["why"]), *rest]


def verdict(found: Any) -> str:
    return "" if found is None else "right" if found is True else said(found)


def said(why: str) -> str:
    """An error as a cell: its first words, without pipes and without numbers that were measured."""
    short = why.removeprefix("UserError: ").split("; use")[0].split(" (")[0]
    return short.replace("|", "/").replace("\n", " ")


def page(rows: Sequence[Row]) -> str:
    """docs/models.md."""
    found = {row["kind"]: row for row in rows}
    counted = [found[kind] for kind in kinds() if kind in found and kind not in APART]
    right = [row for row in counted if is_right(row)]
    shared = sum(row["layout"] == "shared" for row in right)
    lines = [HEAD.format(
        version=_version(), count=len(counted), right=len(right),
        right_share=100 * len(right) // max(len(counted), 1),
        shared_share=100 * shared // max(len(counted), 1),
        **{name: sum(row.get("layout") == name for row in right)
           for name in ("shared", "separate", "alone")},
        refused=sum(row.get("layout") == "refused" for row in counted),
        wrong=sum(map(is_wrong, counted)), untried=sum("layout" not in row for row in counted),
        **{name: sum(row.get(name) is True for row in counted)
           for name in ("lora", "generation", "saved")},
        minutes=max(1, round(sum(row.get("seconds", 0) for row in rows) / 60)),
    )]  # fmt: skip
    lines += ["| model type | layout | why not shared | LoRA | generation | save and load |",
              "|:--|:--|:--|:--|:--|:--|"]  # fmt: skip
    lines += [f"| {' | '.join(cells(row))} |" for row in counted]
    lines += [APART_HEAD, *(f"| `{kind}` | {why} |" for kind, why in sorted(APART.items()))]
    sides = [found[kind] for kind in image_kinds() if kind in found]
    lines += [SIDES_HEAD, *(f"| `{row['kind']}` | {_side(row)} |" for row in sides)]
    return "\n".join(lines) + "\n"


def _side(row: Row) -> str:
    if "error" in row:
        return said(row["error"])
    known = row["text"] in kinds() and row["text"] not in APART
    return f"`{row['text']}`, in the first table" if known else f"`{row['text']}`, which has none"


def _version() -> str:
    import transformers

    return ".".join(transformers.__version__.split(".")[:2])


HEAD = """# Which models can be trained

What happens with each causal language model of transformers {version} when it is scored, trained
and asked. `python benchmarks/models.py` writes this page ({minutes} minutes of one core). It builds
each architecture with small sizes and random weights, saves it, loads it as a run does, and
compares with plain forwards of a second copy, in float32 on a CPU.

| of {count} architectures | |
|:--|--:|
| log-probs and gradient right in some layout | {right} ({right_share} %) |
| - in the shared layout | {shared} ({shared_share} %) |
| - each response in a row of its own | {separate} |
| - and each row in a forward of its own | {alone} |
| refused, in one line, before anything is trained | {refused} |
| could not be tried | {untried} |
| wrong, and nothing says so | {wrong} |
| trained with LoRA on every linear layer | {lora} |
| generation of a batch equals plain forwards | {generation} |
| saved and loaded with the same log-probs | {saved} |

- **layout**: what `engine/probe.py` chose, the cheapest that gives the log-probs of the model's own
  forward. Here all rows were compared, and the gradient of each parameter too.
  In a run training rows and held-out rows are looked at by themselves: where only the held-out ones
  are as long as LongRoPE's other factors begin, they alone go one by one. The record has the layout
  of training.
- **why not shared**: which responses were off in the shared layout, or how its forward failed. The
  second one alone is off where something but masked attention carries the first to it: a state, a
  convolution, distances counted in places of the row, an attention mask of the model's own.
- **LoRA**: at zero and switched off the adapter changes nothing; steps change log-probs, and rows
  still give what the adapted model's own forward does. PEFT refuses `out_proj` in Mamba models.
- **generation**: greedy answers to prompts of several lengths, against one forward per token.
  Where padding changes them, prompts of one length go together; where a cache does, none is used.
- **save and load**: what `save_pretrained` wrote gives the same log-probs, within rounding.

Random weights show that the numbers are the model's, on any of its layers; they do not show that a
model learns. The denominator is every model type that transformers lists as a causal language
model, but for those of the second table. Encoders are tried as decoders (`is_decoder`), XLM and
XLNet in their causal mode.
"""
APART_HEAD = """
## Not causal language models on token ids alone

Listed by transformers as such and not counted above.

| model type | why |
|:--|:--|"""
SIDES_HEAD = """
## Image-text models

Those that transformers lists as image-text models and not as causal language models: loading one
is refused. Their text side, where it is one of the first table, can be trained by itself.

| model type | causal language model of its text side |
|:--|:--|"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="model types to try again")
    parser.add_argument("--resume", action="store_true", help="try what is not in the results")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON of what was found")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    args = parser.parse_args(argv)
    if unknown := set(args.only or []) - {*kinds(), *image_kinds()}:
        parser.error(f"transformers has no causal language model {', '.join(sorted(unknown))}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported
    args = parse(argv)
    every = [*kinds(), *image_kinds()]
    old = json.loads(args.results.read_text()) if args.results.is_file() else {}
    kept = old if args.only or args.resume else {}
    wanted = args.only or [kind for kind in every if kind not in kept and kind not in APART]
    args.results.parent.mkdir(parents=True, exist_ok=True)
    for row in run(wanted, args.workers):
        kept[row["kind"]] = row
        print(json.dumps(row), flush=True)
        args.results.write_text(json.dumps(kept, indent=1, sort_keys=True))
    args.page.write_text(page(list(kept.values())))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
