"""The tokens stage: which rows it holds, and what its key and an evaluator's depend on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.config.quick import quick
from tiebreak.compose import Run, compose
from tiebreak.data import world
from tiebreak.data.examples import Example, prompt_key
from tiebreak.data.tokens import Tokens, encode_prompts
from tiebreak.errors import UserError
from tiebreak.stages.stage import Context, make
from tiebreak.stages.tokens import read_report, tokens_stage
from tiebreak.store import Store

FEW = ("data.num_pairs=24", "data.num_test_pairs=12")
VALIDATION = "evaluation.split=validation"


def rows(path: Path, number: int, first: int = 0) -> Path:
    """Two pairs to each prompt."""
    lines = [
        {"prompt": f"say {i // 2}", "chosen": f"yes {i}", "rejected": f"no {i}"}
        for i in range(first, first + number)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A checkpoint as far as keys and tokens go: the world's tokenizer, and some weights."""
    folder = tmp_path / "model"
    world.build_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return f"model={folder}"


@pytest.fixture
def files(tmp_path: Path, model: str) -> list[str]:
    data = rows(tmp_path / "rows.jsonl", 200)
    return [model, f"data={data}", "scenario=align-from-base", "data.as_conversation=true"]


def keys(run: Run) -> tuple[str, list[str]]:
    """(of the policy, of what evaluates): the latter of both models."""
    measured = run.plan.evaluations.values()
    return run.plan.align.key, [s.key for one in measured for s in (one.start, one.policy)]


def content(run: Run) -> dict[str, Any]:
    return run.data.content(str(run.evaluation.split))


def read_sides(run: Run) -> dict[str, list[Example]]:
    return {side: run.data.rows(side) for side in run.data.sides()}


def built(run: Run, store: Store, side: str) -> Path:
    return make(tokens_stage(run, run.plan.start, side), store, Context(run))


def test_the_world_always_has_validation_rows(tmp_path: Path) -> None:
    run, store = quick(*FEW), Store(tmp_path)
    made = {side: built(run, store, side) for side in run.data.sides()}
    reports = {side: read_report(folder) for side, folder in made.items()}
    assert {side: report["rows"] for side, report in reports.items()} == {
        "train": 24, "test": 12, "validation": 12,
    }  # fmt: skip
    for side in ("test", "validation"):
        prompts = json.loads((made[side] / "prompts.json").read_text())
        held_out = Tokens.load(made[side])
        assert {row["id"] for row in prompts} <= set(held_out.ids)
        assert len(prompts) == len({tuple(prompt) for prompt in held_out.prompts})
    assert reports["test"]["content"] != reports["validation"]["content"]


def test_a_policy_is_found_again_whatever_its_evaluation(files: list[str]) -> None:
    for overrides, number in (([*FEW], 6), ([*files, "data.validation_share=0.1"], 4)):
        policy, evaluations = keys(compose(overrides))
        same, others = keys(compose([*overrides, VALIDATION]))
        assert policy == same
        assert len(set(evaluations) | set(others)) == 2 * number


def test_files_hold_a_share_of_the_training_prompts(tmp_path: Path, files: list[str]) -> None:
    whole = read_sides(compose(files))
    assert {side: len(examples) for side, examples in whole.items()} == {"train": 180, "test": 20}
    sides = read_sides(compose([*files, "data.validation_share=0.25"]))
    assert {side: len(found) for side, found in sides.items()} == {
        "train": 134, "test": 20, "validation": 46,
    }  # fmt: skip
    asked = [{prompt_key(e.prompt) for e in examples} for examples in sides.values()]
    assert not asked[0] & asked[1] | asked[0] & asked[2] | asked[1] & asked[2]
    assert sides["test"] == whole["test"]
    assert {e.id for e in whole["train"]} == {
        e.id for s in ("train", "validation") for e in sides[s]
    }


def test_limits_cut_after_the_split(files: list[str]) -> None:
    """As many training rows as asked for, and the same validation rows for any number of them."""
    share = "data.validation_share=0.25"
    whole = read_sides(compose([*files, share]))
    few = read_sides(compose([*files, share, "data.max_rows=10", "data.max_test_rows=7"]))
    assert few["train"] == whole["train"][:10]
    assert few["validation"] == whole["validation"][:7] and few["test"] == whole["test"][:7]


def test_the_stage_holds_the_validation_of_files(tmp_path: Path, files: list[str]) -> None:
    store = Store(tmp_path / "store")
    wide = "data.max_dropped_share=1"
    assert (built(compose([*files, wide]), store, "test") / "prompts.json").is_file()
    made = built(compose([*files, wide, "data.validation_share=0.25"]), store, "validation")
    prompts = json.loads((made / "prompts.json").read_text())
    assert len(prompts) == 23 and len(Tokens.load(made)) == 46


def own_template(files: list[str], template: str | None) -> None:
    folder = files[0].removeprefix("model=")
    tokenizer = world.build_tokenizer()
    tokenizer.chat_template = template
    (Path(folder) / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)


ALL = "data.max_dropped_share=0.99"


def test_what_the_template_is_given_is_kept_for_generation(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study's arguments, and before them a row's own; its tools."""
    own = str(world.build_tokenizer().chat_template)
    own_template(files, own.replace("<bos>", "<bos>{{ mood }} {{ tools }} "))
    run = compose([*files, ALL, "model.chat_template_kwargs={mood: red}"])
    examples = [
        Example(str(i), [{"role": "user", "content": f"say {i}"}], ("red", "blue"), **more)
        for i, more in enumerate([{}, {"template_kwargs": {"mood": "blue"}}, {"tools": [{"a": 1}]}])
    ]
    monkeypatch.setattr(type(run.data), "rows", lambda self, side, sample=None: examples)
    made = built(run, Store(tmp_path / "store"), "test")
    prompts = json.loads((made / "prompts.json").read_text())
    assert [row["template"] for row in prompts] == [
        {"mood": "red"}, {"mood": "blue"}, {"tools": [{"a": 1}], "mood": "red"}
    ]  # fmt: skip
    asked = encode_prompts(
        [row["prompt"] for row in prompts], run.plan.start.tokenizer(),
        templates=[row["template"] for row in prompts],
    )  # fmt: skip
    assert asked == Tokens.load(made).prompts and len({tuple(ids) for ids in asked}) == 3


def test_a_base_model_without_a_template_gets_the_one_of_its_config(
    tmp_path: Path, files: list[str]
) -> None:
    own_template(files, None)
    base, store = [*files, ALL, "model.base_chat_template=zephyr"], Store(tmp_path / "store")
    made = built(compose(base), store, "test")
    said = built(compose([*files, ALL, "model.chat_template=zephyr"]), store, "test")
    assert Tokens.load(said) == Tokens.load(made)
    codes = [[one["code"] for one in read_report(folder)["findings"]] for folder in (made, said)]
    assert ["template-of-base" in found for found in codes] == [True, False]
    assert compose([*base, "model.chat_template=zephyr"]).run_id not in {
        compose(base).run_id, compose([*files, ALL]).run_id
    }  # fmt: skip
    instruct = [word for word in base if not word.startswith("scenario")]
    for other in ([*files, ALL], [*instruct, "scenario=align-from-instruct"]):
        with pytest.raises(UserError, match="a conversation, but the tokenizer has no chat templ"):
            built(compose(other), store, "test")


def test_too_few_prompts_to_split(tmp_path: Path, model: str) -> None:
    data = rows(tmp_path / "few.jsonl", 2)
    held = rows(tmp_path / "held.jsonl", 2, first=2)
    run = compose([model, f"data={data}", f"data.test={held}", "scenario=align-from-base",
                   "data.validation_share=0.5"])  # fmt: skip
    with pytest.raises(UserError, match="data.validation_share=0.5: 1 different prompts cannot"):
        read_sides(run)


@pytest.mark.parametrize(
    ("split", "override", "matters"),
    [
        ("test", "data.validation_share=0.2", False),
        ("validation", "data.validation_share=0.2", True),
        ("test", "data.test_share=0.2", True),
        ("validation", "data.test_share=0.2", True),  # what is left to split is another
        ("test", "data.max_rows=7", False),
        ("validation", "data.max_rows=7", False),
        ("test", "data.max_test_rows=7", True),
        ("validation", "data.max_test_rows=7", True),
    ],
)
def test_what_an_evaluator_of_files_depends_on(
    split: str, override: str, matters: bool, files: list[str]
) -> None:
    given = [*files, f"evaluation.split={split}", "data.validation_share=0.1"]
    assert (content(compose(given)) != content(compose([*given, override]))) == matters


def test_what_an_evaluator_depends_on_beside_a_test_file(tmp_path: Path, files: list[str]) -> None:
    held, other = (rows(tmp_path / f"held{n}.jsonl", 8, first=n) for n in (200, 300))
    apart = [*files, "data.validation_share=0.1"]
    for split, by_train, by_test in (("test", False, True), ("validation", True, False)):
        asked = [*apart, f"evaluation.split={split}"]
        base = content(compose([*asked, f"data.test={held}"]))
        more = compose(
            [*asked, f"data.test={held}", f"data.train={rows(tmp_path / 'm.jsonl', 60)}"]
        )
        assert (content(more) != base) == by_train
        assert (content(compose([*asked, f"data.test={other}"])) != base) == by_test
        assert "test_share" not in base
