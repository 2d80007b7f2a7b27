"""The script for vLLM, against a stand-in of vLLM's documented API on transformers."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.tiny import make_model
from tiebreak.config.schema import GeneratorConfig
from tiebreak.engine.generation import generate
from tiebreak.engine.models import load_policy
from tiebreak.kept_answers import KeptAnswers
from tiebreak.stages import generator
from tiebreak.stages.generator import SCRIPTS, Request, Weights, seed_of

FAKE = Path(__file__).parent / "fake_vllm"
SCRIPT = "vllm_offline.py"
PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12], [13, 14]]
TORCH = importlib.metadata.version("torch")
VERSION = f"vllm_offline 1 / vllm 0.33.0 / torch {TORCH} / float32 / GPUs 1 / batch-invariant no"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_model().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    adapted = get_peft_model(make_model(), LoraConfig(r=3, target_modules=["q_proj", "v_proj"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter += torch.randn(
                    parameter.shape, generator=torch.Generator().manual_seed(3)
                )
    adapted.save_pretrained(folder)
    return folder


def answers(
    weights: Weights, folder: Path, temperature: float, together: int = 3
) -> list[list[int]]:
    words = ("env", f"PYTHONPATH={FAKE}", sys.executable, f"{{scripts}}/{SCRIPT}", "--model",
             "{model}", "--adapter", "{adapter}", "--requests", "{requests}", "--answers",
             "{answers}", "--dtype", "{precision}", "--together", str(together))  # fmt: skip
    config = GeneratorConfig(command=words, version=VERSION, timeout=300)
    asked = [Request(f"item {n}", ids, 9, temperature, seed_of(0, f"item {n}"), [2])
             for n, ids in enumerate(PROMPTS)]  # fmt: skip
    kept = KeptAnswers(None)
    generator.generate(config, weights, "float32", asked, kept, folder)
    return [kept.get(one.id) for one in asked]


@pytest.mark.parametrize("policy", ["whole", "adapter"])
def test_greedy_answers_are_the_engines(
    policy: str, model: Path, adapter: Path, tmp_path: Path
) -> None:
    trained = adapter if policy == "adapter" else None
    loaded = load_policy(model, adapter) if trained else make_model()
    own = generate(loaded, PROMPTS, pad_id=0, end_ids=[2], max_new_tokens=9, temperature=0.0,
                   batch_size=4, seed=0)  # fmt: skip
    assert answers(Weights(model, None, trained), tmp_path, 0.0) == own


def test_a_sampled_answer_has_a_seed_of_its_own(model: Path, tmp_path: Path) -> None:
    weights = Weights(model, None, None)
    found = answers(weights, tmp_path, 1.0)
    assert found == answers(weights, tmp_path / "again", 1.0, together=1)
    assert len({tuple(ids) for ids in found}) == len(PROMPTS)


def test_an_end_token_that_vllm_leaves_out_is_put_back() -> None:
    sys.path.insert(0, str(SCRIPTS))
    try:
        import vllm_offline
    finally:
        sys.path.remove(str(SCRIPTS))

    def said(ids: list[int], reason: int | None) -> list[int]:
        return vllm_offline.token_ids(type("Output", (), {"token_ids": ids, "stop_reason": reason}))

    assert said([4, 5], 2) == [4, 5, 2] == said([4, 5, 2], 2)
    assert said([4, 5], None) == [4, 5] and said([], 2) == [2]


def test_it_imports_nothing_of_tiebreak() -> None:
    tree = ast.parse((SCRIPTS / SCRIPT).read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
             for alias in node.names]  # fmt: skip
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    outside = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert outside == set() and os.path.isfile(SCRIPTS / SCRIPT)
