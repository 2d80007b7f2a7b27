"""Random tokenizer folders and chat templates, good and broken ones: no traceback, no row lost.

    python benchmarks/malformed_templates.py --folders 2000 --seed 0

A folder has a small tokenizer and a chat template, one that ships or a plain one, in a form that
the library writes: a file, a key of tokenizer_config.json, one of several. Then templates are cut
and given code that fails, keys get other values, files are taken out, cut, or changed by a byte.
What a run does before it trains (name the start model, load its tokenizer, encode and lint rows)
must end in as many rows as there are, kept or dropped by a reason; or in one UserError (exit code 2
of the command line) that names the folder, the key or the row. Exit code 1 when a folder does
neither.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tiebreak.config.compose import configure  # noqa: E402
from tiebreak.config.schema import RunConfig  # noqa: E402
from tiebreak.data.examples import Example  # noqa: E402
from tiebreak.data.read import read_preferences  # noqa: E402
from tiebreak.data.sources.source import TRAIN  # noqa: E402
from tiebreak.data.template import named  # noqa: E402
from tiebreak.errors import UserError  # noqa: E402
from tiebreak.stages.start import start_checkpoint  # noqa: E402
from tiebreak.stages.tokens import encode, refuse_unfit, tokens_stage  # noqa: E402

TEMPLATE, CONFIG, MAP = "chat_template.jinja", "tokenizer_config.json", "special_tokens_map.json"
MARKS = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
)
SNIPPETS = (
    "{{ nothing.there }}", "{{ nothing }}", "{{ raise_exception('no such role') }}", "{{ 1 / 0 }}",
    "{{ messages[7].content }}", "{% for i in range(1000000) %}x{% endfor %}",
    "{% for i in range(300) %}{% for j in range(9) %}x{% endfor %}{% endfor %}",
    "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "{{ strftime_now('%Y') }}",
    "{{ strftime_now() }}", "{{ [1, 2] | random }}", "{{ lipsum() }}", "{% break %}",
    "{% include 'x' %}", "{% extends 'x' %}", "{{ ''.__class__.__mro__ }}", 
    "{{ messages | tojson }}",
    "{{ 'a' % 3 }}", "{{ none + 1 }}", "{{ 'é\u2028\U0001f600' }}", "{{ messages | nofilter }}",
    "{% set x = caller() %}", "{{ super() }}", "{% generation %}x{% endgeneration %}", "{{ x(1) }}",
    "{% if tools %}{{ tools[0].name }}{% endif %}", "{% for m in messages %}", "{% endif %}", "{{",
    "{% set messages = [] %}", "{{ '%d' | format('a') }}", "{{ messages.append({}) }}",
    "<|im_end|>",
    "{{ bos_token + none }}", "{% raw %}", "\x00", "{{ dict(a=1).a.b.c }}", "{{ range(1, 2, 0) }}",
)  # fmt: skip
KEYS = (
    "chat_template", "eos_token", "bos_token", "pad_token", "unk_token", "tokenizer_class",
    "model_max_length", "added_tokens_decoder", "extra_special_tokens", "padding_side", "auto_map",
    "additional_special_tokens", "add_bos_token", "add_prefix_space",
    "truncation_side", "split_special_tokens", "model_input_names", "special_tokens", "vocab",
    "added_tokens", "model", "normalizer", "pre_tokenizer", "post_processor", "decoder", "version",
    "merges", "id", "content", "special", "type",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, "", "</s>", "<new>", 0, -1, 2, 10**30, 1.5, True, [], {}, ["a"], [None], {"a": 1}, "left",
    [{"name": "default", "template": PLAIN[0]}, {"name": "rag", "template": "x"}],
    [{"name": "rag", "template": PLAIN[0]}], [{"name": "default"}], {"default": PLAIN[1]},
    {"content": "</s>", "special": True}, {"content": 3}, {"9999": {"content": "<far>"}},
    {"3": {"content": "<other>", "special": True}}, {"a": {"content": "<b>"}}, "LlamaTokenizer",
    "LlamaTokenizerFast", "Qwen2TokenizerFast", "NoSuchTokenizer", "GPT2Tokenizer", "BPE",
    "WordLevel", {"AutoTokenizer": ["own.py", None]}, {"type": "ByteLevel"}, {"type": "Lowercase"},
    [{"id": 9999, "content": "<far>", "special": True}],
)  # fmt: skip


def make_rows(path: Path) -> list[Example]:
    """Pairs whose prompts are conversations, and a plain one."""
    asked, system = (
        {"role": "user", "content": "Why so?"},
        {"role": "system", "content": "Be brief."},
    )
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": 1}}}
    plain = {"role": "assistant", "content": "No."}
    told = {"role": "assistant", "content": "So.", "tool_calls": [call]}
    both = {"chosen": "Because it is.", "rejected": "No."}
    rows: list[dict[str, Any]] = [
        {"prompt": [asked], **both},
        {"prompt": [system, asked], **both, "tools": [call]},
        {"prompt": [asked], "chosen": [told], "rejected": [plain]},
        {"prompt": "Plain?", **both},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return read_preferences(path)


def make_folder(folder: Path, draw: random.Random) -> None:
    """A tokenizer of bytes and marks, a config and a tensor, and a chat template in some form."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import PreTrainedTokenizerFast

    vocab = {c: i for i, c in enumerate([*MARKS, *sorted(ByteLevel.alphabet())])}
    core = Tokenizer(BPE(vocab, []))
    core.pre_tokenizer, core.decoder = ByteLevel(add_prefix_space=False), Decoder()
    one: Any = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token=draw.choice((None, None, None, "<s>")),
        eos_token="</s>",
        additional_special_tokens=MARKS[3:],
    )  # fmt: skip
    one.save_pretrained(folder)
    save_file({"w": torch.zeros(1)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    shipped = [path.read_text("utf-8") for path in named().values()]
    text = draw.choice([*PLAIN, *shipped])
    form = draw.randrange(5)
    if form == 0:
        changed(folder / CONFIG, lambda about: about | {"chat_template": text})
    elif form == 1:
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": text}))
    else:
        (folder / TEMPLATE).write_text(text, "utf-8")
    if form > 2:
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "tool_use.jinja").write_text(draw.choice(PLAIN))


def changed(file: Path, change: Callable[[Any], Any]) -> None:
    file.write_text(json.dumps(change(json.loads(file.read_text("utf-8"))), ensure_ascii=False))


def mutate(folder: Path, draw: random.Random) -> None:
    """One thing of the tokenizer's changed, where what was changed before leaves it."""
    change = draw.choice((_template, _template, _template, _key, _key, _value, _bytes, _file))
    with contextlib.suppress(IsADirectoryError):
        change(folder, draw)


def _template(folder: Path, draw: random.Random) -> None:
    files = sorted(folder.rglob("*.jinja"))
    file = draw.choice(files) if files else folder / TEMPLATE
    text = file.read_text("utf-8", "replace") if files else draw.choice(PLAIN)
    at, size = draw.randrange(len(text) + 1), draw.choice((0, 0, 0, 1, 9, 99))
    word = draw.choice(
        ("messages", "content", "role", "add_generation_prompt", "{%", "%}", "endif")
    )
    change = draw.randrange(4)
    if change == 0:
        text = text.replace(word, draw.choice(("message", "", "x", "eos_token")))
    else:
        new = "" if change == 1 else draw.choice(SNIPPETS)
        text = draw.choice((text[:at] + new + text[at + size :], new + text, text + new))
    file.write_text(text, "utf-8")


def _key(folder: Path, draw: random.Random) -> None:
    key, value = draw.choice(KEYS[:17]), draw.choice(VALUES)
    file = folder / draw.choice((CONFIG, CONFIG, MAP))
    file.write_text(file.read_text("utf-8", "replace") if file.is_file() else "{}")
    try:
        changed(file, lambda about: {**about, key: value})
    except (ValueError, TypeError):
        file.write_text(json.dumps(value))


def _value(folder: Path, draw: random.Random) -> None:
    """A value somewhere in tokenizer.json."""

    def bent(value: Any, depth: int) -> Any:
        if depth and isinstance(value, dict) and value:
            key = draw.choice([k for k in value if k in KEYS] or list(value))
            return {k: bent(v, depth - 1) if k == key else v for k, v in value.items()}
        if depth and isinstance(value, list) and value:
            at = draw.randrange(len(value))
            return [bent(v, depth - 1) if i == at else v for i, v in enumerate(value)]
        return draw.choice(VALUES)

    try:
        changed(folder / "tokenizer.json", lambda about: bent(about, draw.randint(1, 3)))
    except (ValueError, OSError):
        (folder / "tokenizer.json").write_text("[]")


def _bytes(folder: Path, draw: random.Random) -> None:
    file = draw.choice(_files(folder))
    content = file.read_bytes()
    at = draw.randrange(len(content) + 1)
    new = draw.choice(
        (b"", b"\xff", b'"', b"\x00", b"}{", b"\xef\xbb\xbf", b"version https://git-lfs")
    )
    file.write_bytes(content[:at] + new + content[at + draw.choice((0, 1, 30, len(content))) :])


def _file(folder: Path, draw: random.Random) -> None:
    file = draw.choice(_files(folder))
    change = draw.randrange(4)
    if change == 0:
        file.unlink()
    elif change == 1:
        file.unlink()
        file.mkdir()
    elif change == 2:
        shutil.rmtree(folder / "additional_chat_templates", ignore_errors=True)
        (folder / "additional_chat_templates").mkdir()
        name = draw.choice(("default", "rag", "a b", "é"))
        (folder / "additional_chat_templates" / f"{name}.jinja").write_text(draw.choice(PLAIN))
    else:
        (folder / draw.choice(("added_tokens.json", "vocab.json", "merges.txt"))).write_text(
            draw.choice(("{}", "", '{"<far>": 9999}', '{"a": "b"}', "[1]", "a b c"))
        )


def _files(folder: Path) -> list[Path]:
    """Those of the tokenizer; there is always one."""
    found = sorted(f for f in folder.rglob("*") if f.is_file())
    own = [f for f in found if f.name not in ("model.safetensors", "config.json")]
    return own or [folder / "config.json"]


def outcome(run: RunConfig, examples: list[Example], folder: Path) -> str:
    """ "read", "dropped" or "refused"; AssertionError for a row that is nowhere."""
    run = replace(run, model=replace(run.model, instruct=str(folder)))
    encoded = None
    try:
        start = start_checkpoint(run)
        assert len(tokens_stage(run, start, TRAIN).key) > 9
        encoded = encode(run, examples, start.tokenizer())
        refuse_unfit(run, encoded)
    except UserError as error:
        where = (str(folder), "model.chat_template", "rows.jsonl", "eos_token")
        # What the lint finds is of the rows that it names.
        named_ = any(name in str(error) for name in where) and "\n" not in str(error)
        assert encoded or named_, f"{folder.name}: what it is of is not said: {error}"
        return "refused"
    num = len(encoded.tokens) + sum(encoded.dropped.counts.values())
    assert num == len(examples), f"{folder.name}: a row is lost"
    return "dropped" if encoded.dropped.counts else "read"


def prepared(folder: Path) -> tuple[RunConfig, list[Example]]:
    """A run of rows that are written into the folder, for any start model."""
    make_folder(folder / "first", random.Random(0))
    examples = make_rows(folder / "rows.jsonl")
    words = f"model={folder / 'first'} data={folder / 'rows.jsonl'} data.test_share=0.5"
    more = "scenario=align-from-instruct data.max_dropped_share=1"
    return configure([*words.split(), *more.split()]), examples


def check(folders: int, seed: int, folder: Path) -> collections.Counter[str]:
    """How many folders ended in what; whatever is no UserError is raised, its folder left."""
    draw = random.Random(seed)
    run, examples = prepared(folder)
    counts: collections.Counter[str] = collections.Counter()
    for number in range(folders):
        place = folder / f"model-{number}"
        make_folder(place, draw)
        for _ in range(draw.choice((0, 0, 1, 1, 1, 2))):
            mutate(place, draw)
        counts[outcome(run, examples, place)] += 1
        shutil.rmtree(place)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folders", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="malformed-"))
    counts = check(options.folders, options.seed, folder)
    told = ", ".join(f"{count} {what}" for what, count in counts.most_common())
    print(f"{counts.total()} folders: {told}; no traceback, no row lost")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
