"""What changes a run id, and what does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.config.quick import quick
from tiebreak.compose import compose
from tiebreak.data.template import named
from tiebreak.errors import UserError
from tiebreak.stages import plan
from tiebreak.stages.checkpoint import model_commit

ROWS = [
    {"prompt": f"say {i}", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(3)
]  # fmt: skip


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "override",
    [
        "train.execution.checkpoint_every=7",
        "train.execution.positions_per_cut=100",
        "train.execution.num_threads=2",
        "train.execution.num_processes=2",
        "train.execution.gradient_checkpointing=true",
        "tracker=none",
        "tracker.project=other",
        "train.name=other",
        "train.lora.rank=3",  # without train.adapter=lora nothing reads it
        "evaluation.temperature=0.1",  # what is measured on a policy is no part of it
        "evaluation.seed=9",
        "evaluation.split=validation",
        "evaluation.evaluators=[pairs]",
        "data.num_test_pairs=7",
        "data.max_dropped_share=0.5",
    ],
)
def test_unchanged_by(override: str) -> None:
    assert quick(override).run_id == quick().run_id


@pytest.mark.parametrize(
    "override",
    [
        "method=kto",
        "method.beta=0.2",
        "scenario=align-from-base",
        "train.learning_rate=1e-5",
        "train.sft.epochs=2",
        "train.adapter=lora",
        "train.max_steps=5",
        "data.num_pairs=100",
        "data.label_noise=0.1",
        "data.max_length=100",
        "data.num_demonstrations=100",
        "data.seed=9",
        "model.pretraining.seed=9",
    ],
)
def test_changed_by(override: str) -> None:
    assert quick(override).run_id != quick().run_id
    assert quick(override).group_id != quick().group_id


def test_the_seed_changes_the_run_and_not_the_group() -> None:
    one, two = quick("seed=1"), quick("seed=2")
    assert one.run_id != two.run_id and one.group_id == two.group_id
    assert len(one.run_id) == 12 and set(one.run_id) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "override", ["data.num_demonstrations=7", "train.sft.epochs=9", "model.instruct_tuning=null"]
)
def test_stages_that_a_scenario_lacks_do_not_enter(override: str) -> None:
    base = "scenario=align-from-base"
    assert quick(base, override).run_id == quick(base).run_id


def test_an_equal_value_written_otherwise_is_the_same() -> None:
    for one, other in (("1", "1.0"), ("0.0001", "1e-4")):
        ids = {compose([f"method.beta={value}"]).run_id for value in (one, other)}
        assert len(ids) == 1


def test_home_does_not_enter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = compose([]).run_id
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    assert compose([]).run_id == before


def test_a_file_counts_by_its_content(tmp_path: Path) -> None:
    def of(path: Path) -> str:
        return compose([f"data={path}", "scenario=align-from-base"]).run_id

    one = write(tmp_path / "one.jsonl", ROWS)
    other = tmp_path / "elsewhere" / "other name.jsonl"
    other.parent.mkdir()
    shutil.copy(one, other)
    assert of(one) == of(other)
    assert of(write(tmp_path / "two.jsonl", ROWS[:2])) != of(one)


def test_a_checkpoint_counts_by_its_weights(tmp_path: Path) -> None:
    def of(place: Path) -> str:
        return compose([f"model={place}", "scenario=align-from-base"]).run_id

    for name, weights in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    assert of(tmp_path / "a") == of(tmp_path / "b") != of(tmp_path / "c")
    (tmp_path / "c" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"only safetensors weights are read"):
        of(tmp_path / "c")


def checkpoint(folder: Path, template: str) -> str:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "chat_template.jinja").write_text(template)
    return f"model={folder}"


def test_arguments_of_the_chat_template_count(tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "m", "{{ messages }}")

    def keys(*overrides: str) -> list[str]:
        run = compose([model, "scenario=align-from-base", *overrides])
        measured = [one.policy for one in run.plan.evaluations.values() if one.policy.parents]
        return [run.run_id, run.plan.tokens.key, run.plan.held_out.key, measured[0].key]

    kwargs = "model.chat_template_kwargs"
    base, off = keys(), keys(f"{kwargs}={{enable_thinking: false, n: 1}}")
    assert not set(base) & set(off)
    assert off == keys(f"{kwargs}.n=1", f"{kwargs}.enable_thinking=false") != keys(f"{kwargs}.n=1")
    assert base == keys(f"{kwargs}={{}}")
    for wrong, message in (("=3", "is not a group"), (".n=nan", "not a number that JSON")):
        with pytest.raises(UserError, match=f"{kwargs}.*{message}"):
            keys(f"{kwargs}{wrong}")
    with pytest.raises(UserError, match=f"{kwargs} has no effect on a model made here"):
        compose([f"{kwargs}.n=1"])


def test_the_date_counts_where_a_template_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiebreak.stages import tokens

    dated = checkpoint(tmp_path / "dated", "{{ strftime_now('%Y') }}")
    plain = checkpoint(tmp_path / "plain", "{{ messages }}")
    (tmp_path / "own.jinja").write_text("{{ strftime_now('%Y') }}")
    own = f"model.chat_template={tmp_path / 'own.jinja'}"

    def ids() -> list[str]:
        scenario = "scenario=align-from-base"
        return [compose([*words, scenario]).run_id for words in ([dated], [plain, own], [plain])]

    before = ids()
    monkeypatch.setattr(tokens, "DATE", tokens.DATE.replace(year=2000))
    plan._shared.cache_clear()
    after = ids()
    plan._shared.cache_clear()
    assert [b == a for b, a in zip(before, after, strict=True)] == [False, False, True]


def test_plain_rows_that_a_former_version_encoded_otherwise_are_made_again(tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "m", "{{ messages }}")
    file, rows = tmp_path / "m" / "tokenizer.json", write(tmp_path / "rows.jsonl", ROWS)
    marks = [{"SpecialToken": {"id": "[gMASK]"}}, {"SpecialToken": {"id": "<sop>"}}]

    def anew(content: dict, *more: str) -> bool:
        stages = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
        space = {"decoder": {"type": "ByteLevel", "add_prefix_space": True}}
        file.write_text(json.dumps(dict.fromkeys(stages) | space | content))
        plan._shared.cache_clear()
        run = compose([model, f"data={rows}", "scenario=align-from-base", *more])
        return "plain_rows" in run.plan.tokens.settings["tokenizer"]

    for content, expected in (
        ({"pre_tokenizer": {"type": "Metaspace"}}, True),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend"}]}}, True),
        ({"post_processor": {"single": [*marks, {"Sequence": {"id": "A"}}]}}, True),
        ({"post_processor": {"single": [*marks[:1], {"Sequence": {"id": "A"}}]}}, False),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}}, False),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, True),
    ):
        assert anew(content) == expected
    assert not anew({"pre_tokenizer": {"type": "Metaspace"}}, "data.as_conversation=true")


def test_a_template_by_name_counts_by_its_text(tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "m", "{{ messages }}")
    shutil.copy(named()["zephyr"], tmp_path / "mine.jinja")

    def of(template: str) -> str:
        words = [model, "scenario=align-from-base", f"model.chat_template={template}"]
        return compose(words).run_id

    assert of("zephyr") == of(str(tmp_path / "mine.jinja")) != of("chatml")


def test_a_missing_chat_template_is_said_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(UserError, match=r"model.chat_template=no.jinja: no such file; give"):
        compose([f"model={tmp_path}", "scenario=align-from-base", "model.chat_template=no.jinja"])
    with pytest.raises(UserError, match=r"model.base_chat_template=zephir: .*'zephyr'"):
        compose(
            [f"model={tmp_path}", "scenario=align-from-base", "model.base_chat_template=zephir"]
        )


def test_a_model_that_is_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path))
    with pytest.raises(UserError, match="not fetched yet; run: tiebreak fetch smollm2-135m-instr"):
        compose(["model=smollm2-135m-instruct", "scenario=align-from-instruct"])


def test_a_model_of_the_hub_is_its_commit_as_the_cache_knows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where `huggingface_hub` notes it, so that a model fetched by any tool works offline."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="pin model.revision to a 40-digit commit"):
        compose(["model=org/name", "scenario=align-from-base"])
    note = tmp_path / "models--org--name" / "refs" / "main"
    note.parent.mkdir(parents=True)
    ids = []
    for commit in ("a" * 40, "b" * 40):
        note.write_text(commit)
        model_commit.cache_clear()  # as a new process begins
        run = compose(["model=org/name", "scenario=align-from-base"])
        ids.append(run.run_id)
        pinned = compose(["model=org/name", "scenario=align-from-base", f"model.revision={commit}"])
        assert pinned.run_id == ids[-1]
    assert ids[0] != ids[1]
    model_commit.cache_clear()
