from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.hub_stand_in import COMMIT, hub

ROWS = [{"prompt": f"question {i}", "chosen": "yes", "rejected": "no"} for i in range(3)]
OTHER = "f" * 40

READ = """
import json, sys
from dataclasses import asdict
from tiebreak.data import read
from tiebreak.errors import UserError
answers = []
for source, split, revision, *more in json.loads(sys.argv[1]):
    asked = (source, split, revision, *more)
    try:
        answers.append({
            "fingerprint": read.fingerprint(*asked),
            "rows": [asdict(row) for row in read.read_preferences(*asked)],
            "torch": "torch" in sys.modules,
        })
    except UserError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""

MODEL = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
print(json.dumps({
    "weights": sum(p.numel() for p in model.parameters()),
    "ids": tokenizer("hi")["input_ids"],
}))
"""


def parquet(rows: list[dict[str, str]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def run(code: str, argument: str, home: Path, endpoint: str, offline: bool) -> Any:
    """A process of its own: the libraries read where the Hub is when they are imported."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": str(int(offline))}
    env |= {"HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, argument]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def ask(*questions: tuple, home: Path, endpoint: str, offline: bool = False) -> list[Any]:
    """What each (source, split, revision) gives: rows and fingerprint, or the error."""
    return run(READ, json.dumps(questions), home, endpoint, offline)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_data_set_is_read_pinned_and_read_again_offline(tmp_path, kind):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    files = {
        "jsonl": {"train.jsonl": lines, "test.jsonl": lines.splitlines(keepends=True)[0]},
        "parquet": {
            "README.md": b"---\nlicense: mit\n---\n",
            "data/train-00000-of-00001.parquet": parquet(ROWS),
            "data/test-00000-of-00001.parquet": parquet(ROWS[:1]),
        },
    }[kind]
    with hub({"datasets/org/tiny": files}) as (endpoint, requests):
        online, wrong = ask(
            ("org/tiny", "test", None), ("org/tiny", "tset", None), home=tmp_path, endpoint=endpoint
        )
        assert "GET /api/datasets/org/tiny" in requests
    assert online["fingerprint"] == f"hub:org/tiny@{COMMIT}:test"
    assert [row["prompt"] for row in online["rows"]] == ["question 0"]
    assert online["rows"][0]["where"] == "org/tiny/test:1"
    assert not online["torch"]
    assert "no split 'tset' (nearest: 'test'); it has" in wrong
    offline, other = ask(
        ("org/tiny", "train", None),
        # The library would answer with the commit it has; we ask for another.
        ("org/tiny", "train", OTHER),
        home=tmp_path, endpoint=endpoint, offline=True,
    )  # fmt: skip
    assert offline["fingerprint"] == f"hub:org/tiny@{COMMIT}:train"
    assert len(offline["rows"]) == 3
    assert f"asked for commit {OTHER}, the local cache gave {COMMIT}" in other


def test_a_configuration_is_chosen_and_train_may_be_called_train_prefs(tmp_path):
    card = "---\nconfigs:\n" + "".join(
        f"- config_name: {name}\n  data_files:\n  - split: train_prefs\n    path: {name}.parquet\n"
        for name in ("first", "second")
    )
    files = {
        "README.md": f"{card}---\n".encode(),
        "first.parquet": parquet(ROWS),
        "second.parquet": parquet([{**ROWS[0], "rejected": None}, ROWS[0]]),
    }
    with hub({"datasets/org/tiny": files}) as (endpoint, _):
        none, first, second, gone = ask(
            ("org/tiny", "train", None), ("org/tiny", "train", None, "first"),
            ("org/tiny", "train_prefs", None, "second"), ("org/tiny", "train", None, "third"),
            home=tmp_path, endpoint=endpoint,
        )  # fmt: skip
    assert "['first', 'second']" in none and "give one as data.subset" in none
    assert first["fingerprint"] == f"hub:org/tiny@{COMMIT}:first:train"
    assert [row["where"] for row in first["rows"]][:1] == ["org/tiny/train_prefs:1"]
    assert len(first["rows"]) == 3
    assert second.startswith("org/tiny/train_prefs:1: no field 'rejected'")
    assert "'third' not found" in gone


def test_a_hub_that_does_not_know_is_quoted_with_the_remedy(tmp_path):
    with hub({"datasets/org/tiny": {"notes.txt.bak": b""}}) as (endpoint, _):
        none, revision, commit, empty = ask(
            ("org/none", "train", None), ("org/tiny", "train", "v2"), ("org/tiny", "train", OTHER),
            ("org/tiny", "train", COMMIT), home=tmp_path, endpoint=endpoint,
        )  # fmt: skip
    assert "org/none: neither a file here nor a data set on the Hub" in none
    assert "the Hub has no revision 'v2'; correct data.revision" in revision
    assert OTHER in commit and "check the id and the revision" in commit
    assert "cannot be loaded" in empty and "download the file you mean" in empty


def test_no_hub_and_no_cache_says_how_to_pin(tmp_path):
    (gone,) = ask(("org/tiny", "train", None), home=tmp_path, endpoint="http://127.0.0.1:9")
    assert "cannot be reached (ConnectError)" in gone and "pin data.revision" in gone
    off, pinned = ask(
        ("org/tiny", "train", None), ("org/tiny", "train", OTHER),
        home=tmp_path, endpoint="http://127.0.0.1:9", offline=True,
    )  # fmt: skip
    assert "cannot be reached (OfflineModeIsEnabled)" in off
    assert "the local cache does not hold this data set" in pinned


def test_a_model_is_loaded_by_its_id(tmp_path, make_tokenizer):
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    files = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    with hub({"models/org/tiny": files}) as (endpoint, requests):
        found = run(MODEL, "org/tiny", tmp_path / "home", endpoint, offline=False)
        assert any("model.safetensors" in request for request in requests)
    assert found["weights"] == sum(p.numel() for p in model.parameters())
    assert found["ids"] == tokenizer("hi")["input_ids"]


LOAD = """
import json, sys
from tiebreak.engine.models import load_model, load_tokenizer
from tiebreak.errors import UserError
answers = []
for place, commit in json.loads(sys.argv[1]):
    try:
        model, tokenizer = load_model(place, commit), load_tokenizer(place, commit)
        answers.append([sum(p.numel() for p in model.parameters()), len(tokenizer)])
    except UserError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def test_adapters_and_code_of_a_hub(tmp_path, make_tokenizer):
    """An adapter in a folder may have its base on a Hub; one on the Hub itself is downloaded."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    count = sum(p.numel() for p in model.parameters())
    files = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    lora: Any = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    get_peft_model(model, lora).save_pretrained(tmp_path / "adapter")
    about = tmp_path / "adapter" / "adapter_config.json"
    about.write_text(
        json.dumps({**json.loads(about.read_text()), "base_model_name_or_path": "org/base"})
    )
    adapter = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    own = {**json.loads(files["config.json"]), "model_type": "own",
           "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}  # fmt: skip
    code = {**files, "config.json": json.dumps(own).encode(), "code.py": b"raise SystemExit(9)"}
    served = {"models/org/base": files, "models/org/adapter": adapter, "models/org/code": code}
    asked = [(str(tmp_path / "adapter"), COMMIT), ("org/base", COMMIT), ("org/adapter", COMMIT),
             ("org/code", COMMIT)]  # fmt: skip
    with hub(served) as (endpoint, _):
        on_base, base, on_hub, custom = run(
            LOAD, json.dumps(asked), tmp_path / "home", endpoint, offline=False
        )
    assert on_base == base == [count, len(tokenizer)]
    assert "org/adapter has adapter_config.json" in on_hub
    assert "hf download org/adapter --local-dir FOLDER" in on_hub
    assert "it needs code of its own (auto_map), which is never run" in custom
