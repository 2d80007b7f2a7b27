"""Sizes, work and room: against what transformers and peft count, and against sums by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from tests.config.quick import quick
from tiebreak.compose import Run
from tiebreak.config.compose import configure
from tiebreak.config.schema import Lora
from tiebreak.data.sources import Lengths
from tiebreak.data.tokens import Tokens
from tiebreak.data.world import build_tokenizer
from tiebreak.errors import UserError
from tiebreak.plan import sizes
from tiebreak.plan.memory import RUNTIME
from tiebreak.plan.sizes import RunSize, Shape, steps_and_rows
from tiebreak.plan.stage_costs import stage_cost
from tiebreak.stages.evaluators import EVALUATORS, Evaluator

SHAPE = Shape(1000, layers=2, hidden=8, intermediate=16, vocabulary=50, modules=(("q_proj", 32),))
ROWS = Lengths(rows=100, prompt=10, response=20)
ROW, SINGLE = 10 + 2 * 20 - 1, 10 + 20 - 1


def size(*overrides: str, shape: Shape | None = SHAPE, rows: Lengths | None = ROWS) -> RunSize:
    few = Lengths(10, 10, 20)
    return RunSize(quick(*overrides), shape, {"train": rows, "test": few, "validation": few})


def align(*overrides: str, **given: Any) -> Any:
    return stage_cost("align", "", size(*overrides, **given))


def llama(vocabulary: int, **shape: Any) -> LlamaForCausalLM:
    given = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3,
             "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **{**given, **shape}))


@pytest.mark.parametrize("more", [[], ["model.pretraining.hidden_size=64",
                                       "model.pretraining.layers=3"]])  # fmt: skip
def test_the_tiny_model_has_the_parameters_that_transformers_counts(more: list[str]) -> None:
    run = quick("scenario=align-from-base", *more)
    made, shape = run.model.pretraining, sizes.start_shape(run)
    assert made is not None and shape is not None
    model = llama(
        len(build_tokenizer()), hidden_size=made.hidden_size, num_hidden_layers=made.layers,
        intermediate_size=made.intermediate_size, num_attention_heads=made.heads,
        num_key_value_heads=made.heads, tie_word_embeddings=True,
    )  # fmt: skip
    assert shape.parameters == model.num_parameters()


@pytest.mark.parametrize("tied", [True, False])
def test_a_checkpoint_is_counted_from_its_headers_or_its_config(tmp_path: Path, tied: bool) -> None:
    model = llama(300, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    whole = sizes.checkpoint_shape(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    from_config = sizes.checkpoint_shape(tmp_path)
    assert whole is not None and from_config is not None
    assert whole.parameters == from_config.parameters == model.num_parameters()
    assert (whole.layers, whole.hidden, whole.vocabulary) == (3, 24, 300)
    assert {**dict(from_config.modules)}.items() <= {**dict(whole.modules)}.items()


def test_shards_are_added_up_and_other_files_are_not(tmp_path: Path) -> None:
    model = llama(300)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    (tmp_path / "consolidated.safetensors").write_bytes(b"not looked at")
    shape = sizes.checkpoint_shape(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert shape is not None and shape.parameters == model.num_parameters()


def test_an_adapter_has_the_parameters_that_peft_counts(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = llama(300)
    model.save_pretrained(tmp_path)
    shape, targets = sizes.checkpoint_shape(tmp_path), ["q_proj", "k_proj", "down_proj"]
    adapted: Any = get_peft_model(model, LoraConfig(r=4, target_modules=targets))
    assert shape is not None
    assert (
        shape.adapter(Lora(rank=4, alpha=8, targets=tuple(targets)))
        == adapted.get_nb_trainable_parameters()[0]
    )


def test_a_file_that_is_no_safetensors_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(UserError, match="model.safetensors is no safetensors file"):
        sizes.checkpoint_shape(tmp_path)


def test_lengths_are_read_from_tokenised_rows(tmp_path: Path) -> None:
    rows = [([1] * 3, ([1] * 4, [1] * 6)), ([1] * 5, ([1] * 2, [1] * 8))]
    prompts, responses = [p for p, _ in rows], [r for _, r in rows]
    Tokens(["a", "b"], prompts, responses, [None, None]).save(tmp_path / "rows")
    found = sizes.stored_lengths(tmp_path / "rows")
    assert found == Lengths(rows=2, prompt=4, response=5, responses=2)
    assert (found.positions, found.single) == (13, 8)
    assert sizes.stored_lengths(tmp_path / "other") is None


def files(tmp_path: Path, *more: str) -> Run:
    text = {"prompt": "p" * 20, "chosen": "c" * 20, "rejected": "r" * 20}
    (tmp_path / "rows.jsonl").write_text((json.dumps(text) + "\n") * 50)
    return quick(f"data={tmp_path / 'rows.jsonl'}", "scenario=align-from-base", *more)


def test_lengths_of_a_file_come_from_its_rows_and_bytes(tmp_path: Path) -> None:
    run = files(tmp_path, "data.test_share=0.2", "data.max_test_rows=4")
    line = (tmp_path / "rows.jsonl").stat().st_size / 50
    cache = sizes.SizeCache()
    lengths = cache.size(run, dict).lengths
    assert lengths["train"] == Lengths(40, line / 12, line / 12)
    assert lengths["test"] is not None and lengths["test"].rows == 4 and "validation" not in lengths
    tokens = Tokens(["a"], [[1] * 3], [([1] * 4, [1] * 6)], [None])
    tokens.save(tmp_path / "rows")
    stored = sizes.SizeCache().size(run, lambda: {"train": tmp_path / "rows"}).lengths
    assert stored == {"train": Lengths(1, 3, 5, 2), "test": lengths["test"]}
    gone = configure([f"data={tmp_path / 'gone.jsonl'}", "scenario=align-from-base"])
    assert cache.size(gone, dict).lengths["train"] is None


def test_a_hub_model_is_found_in_the_cache_by_its_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model, cache, commit = llama(300), tmp_path / "models--some--model", "a" * 40
    model.save_pretrained(cache / "snapshots" / commit)
    newest = configure(["model=some/model", "scenario=align-from-base"])
    pinned = replace(newest, model=replace(newest.model, revision=commit))
    assert sizes.start_shape(newest) is None
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    for run in (pinned, newest):
        shape = sizes.start_shape(run)
        assert shape is not None and shape.parameters == model.num_parameters()


def test_steps_are_those_of_the_plan() -> None:
    from tiebreak.engine.batches import plan_batches

    for rows, batch, epochs, most in ((100, 16, 1.0, None), (100, 16, 2.5, None), (7, 3, 9, 4)):
        plan = plan_batches(rows, batch, epochs, 0, most)
        assert steps_and_rows(rows, batch, epochs, most) == (len(plan), sum(map(len, plan.steps)))


@pytest.mark.parametrize(
    ("overrides", "per_row"),
    [
        ("method=dpo", 6 * ROW),
        ("method=cpo", 6 * ROW),
        ("method=kto", 6 * ROW + 2 * SINGLE),
        ("method=bco", 6 * ROW + 2 * ROW),
        ("method=tdpo1", 6 * ROW + 2 * ROW),
        ("method=kto train.reference=live", 6 * ROW + 2 * ROW + 4 * SINGLE),
        ("method=cpo train.drift=false train.reference=live", 6 * ROW),
        ("method=dpo train.adapter=lora", 4 * ROW),
        ("method=dpo train.execution.gradient_checkpointing=true", 8 * ROW),
    ],
)
def test_training_work_by_hand(overrides: str, per_row: int) -> None:
    assert align(*overrides.split()).work == 100 * per_row
    twice = align(*overrides.split(), "train.epochs=2")
    assert twice.work == 200 * per_row


def test_work_of_the_other_stages_by_hand() -> None:
    given = size("evaluation.num_prompts=30", "evaluation.max_new_tokens=40")
    expected = {
        ("reference", "responses"): 2 * 100 * ROW,
        ("reference", "mismatched responses"): 2 * 100 * SINGLE,
        ("generations", "start model"): 2 * 30 * (10 + 40),
        ("generations", "policy"): 2 * 30 * (10 + 40),
        ("pairs", "start model"): 2 * 10 * ROW,
        ("pairs", "policy"): 2 * 10 * ROW,
        ("gold", "policy"): 0,
        ("pretrain", ""): 6 * 9000 * 51,
        ("instruct", ""): 6 * 4000 * (19 + 27),
        ("tokens", "train rows"): 100,
        ("tokens", "test rows"): 10,
    }
    costs = {at: stage_cost(*at, given) for at in expected}
    assert {at: cost.work for at, cost in costs.items()} == expected
    scored = {at: cost.scored for at, cost in costs.items() if cost.scored}
    assert scored == {("generations", "policy"): 2 * 2 * 30 * SINGLE}, "by it and its start model"
    kinds = {name: costs[name, "policy"].kind for name in ("generations", "pairs", "gold")}
    assert kinds == {"generations": "generate", "pairs": "forward", "gold": "none"}


def test_an_evaluator_that_declares_no_cost_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Evaluator("silent", items=lambda subject: [], metrics=lambda items: {})
    monkeypatch.setitem(EVALUATORS, "silent", silent)
    cost = stage_cost("silent", "policy", size())
    assert (cost.work, cost.missing) == (None, "what the evaluator silent needs")
    unread = stage_cost("pairs", "policy", RunSize(quick(), SHAPE, {}))
    assert unread.work is None and unread.missing.startswith("the rows of data=world")


CUT = 16 * ROW  # the whole batch: less than positions_per_cut
KEPT, BACKWARD = 10 * 8 + 4 * 16 + 2 * 8, 8 + 2 * 16  # numbers of a position in a layer
STATES = 3 * 8  # at the head
CHUNK = 2 * 50  # log-probs and probabilities of a position
ALL = CUT * (2 * KEPT + STATES + BACKWARD)


@pytest.mark.parametrize(
    ("overrides", "floats", "rest"),
    [
        ("method=dpo", 4 * 1000, ALL + CUT * (CHUNK - BACKWARD)),
        ("method=tdpo1", 5 * 1000, ALL + CUT * (2 * CHUNK - BACKWARD)),
        ("method=dpo train.adapter=lora", 1000 + 4 * 8 * 32, ALL + CUT * (CHUNK - BACKWARD)),
        ("method=dpo train.reference=live train.adapter=lora", 1000 + 4 * 8 * 32,
         ALL + CUT * (CHUNK - BACKWARD)),
        ("method=dpo train.execution.positions_per_cut=98 train.execution.head_chunk=10",
         4 * 1000, ALL * 98 // CUT),
        ("method=dpo train.execution.gradient_checkpointing=true", 4 * 1000,
         CUT * (2 * 8 + KEPT + STATES + BACKWARD)),
    ],
)  # fmt: skip
def test_training_memory_by_hand(overrides: str, floats: int, rest: int) -> None:
    """A chunk at the LM head counts for what it takes beyond a layer's backward pass."""
    assert align(*overrides.split()).memory == RUNTIME + 4 * floats + 4 * rest


def test_disk_by_hand() -> None:
    # 100 rows are 7 steps of 16, and checkpoints every 40 steps are one, at the end.
    assert align("method=dpo").disk == 4 * 1000 + 7 * 700
    assert align("method=dpo").transient == 12 * 1000
    assert align("method=dpo", "train.execution.checkpoint_every=5").transient == 2 * 12 * 1000
    assert align("method=tr-dpo").transient == 16 * 1000
    assert align("method=dpo", "train.adapter=lora").disk == 4 * 8 * 32 + 7 * 700
    assert stage_cost("reference", "responses", size()).disk == 100 * (2 * (4 * 20 + 8) + 8)


def test_what_is_not_known_is_said() -> None:
    unseen = align("method=dpo", shape=None)
    assert unseen.work == 100 * 6 * ROW and unseen.memory is None
    assert unseen.missing == "the size of model=tiny (it is not in the cache)"
    unread = align("method=dpo", rows=None)
    assert unread.work is None and unread.missing.startswith("the rows of data=world")
    assert stage_cost("reward-model", "", size()).missing == "what the evaluator reward-model needs"


def test_a_benchmark_costs_every_token_of_its_requests_once() -> None:
    asked = size()
    run = replace(
        asked.run, evaluation=replace(asked.run.evaluation, benchmarks=("mmlu@5", "boolq"))
    )
    asked = replace(asked, run=run)
    mmlu, boolq = (stage_cost(name, "policy", asked).work for name in ("mmlu", "boolq"))
    assert mmlu == 2 * (57 * 5 * 90 + 14042 * (80 + 4))
    assert boolq == 2 * 3270 * (135 + 2)


def test_a_judge_on_this_machine_takes_the_passes_of_its_own_weights(tmp_path: Path) -> None:
    folder = tmp_path / "judge"
    llama(50, tie_word_embeddings=True).save_pretrained(folder)
    judged = ("evaluation.evaluators=[head_to_head]", "evaluation.judge.kind=local",
              f"evaluation.judge.model={folder}", "evaluation.num_prompts=10",
              "evaluation.max_new_tokens=8")  # fmt: skip
    asked = size(*judged)
    cost = stage_cost("head_to_head", "policy", asked)
    number, sent = EVALUATORS["head_to_head"].calls(asked.run, True)  # type: ignore[misc]
    assert number == 2 * 10, "by log-probs nothing is asked again"
    parameters = asked.of_judge().model().parameters
    assert cost.kind == "forward" and cost.work == pytest.approx(2 * sent * parameters / 1000)
    assert cost.memory is not None and cost.memory > RUNTIME + 4 * parameters
    start = stage_cost("head_to_head", "start model", asked)
    assert (start.kind, start.work) == ("none", 0), "it is compared with nobody"
    writes = ("evaluation.judge.reply=written", "evaluation.judge.max_tokens=20")
    written = stage_cost("head_to_head", "policy", size(*judged, *writes))
    again = (2 * sent + 2 * 20 * 20) * parameters / 1000
    assert written.kind == "generate" and written.work == pytest.approx(2 * again)
    sizes._judge_shape.cache_clear()
    (folder / "config.json").rename(tmp_path / "gone.json")
    gone = stage_cost("head_to_head", "policy", asked)
    assert gone.kind == "unknown" and "evaluation.judge.model" in gone.missing
    sizes._judge_shape.cache_clear()
