"""Runs that measure pair sets: what is computed, what a record holds, what a table prints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tiny import make_model

from tests.end_to_end.rows import SMALL, pairs, write
from tests.harness import made
from tiebreak.compose import Run, compose
from tiebreak.data import world
from tiebreak.data.examples import prompt_key
from tiebreak.engine.models import load_model
from tiebreak.errors import UserError
from tiebreak.home import artefacts_dir
from tiebreak.metrics import Shown, evaluation_metric
from tiebreak.plan.estimate import estimate
from tiebreak.run.execute import Outcome, execute
from tiebreak.run.trials import validate
from tiebreak.stages.evaluators import evaluator_of
from tiebreak.stages.evaluators.evaluator import ITEMS, read_rows
from tiebreak.store import Store
from tiebreak_analysis.records import load
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.items import per_item
from tiebreak_analysis.tables.text import markdown


@pytest.fixture(scope="module")
def folder_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights, training rows, and a set of other pairs in two categories."""
    folder = tmp_path_factory.mktemp("given")
    tokenizer = world.build_tokenizer()
    make_model(vocab_size=len(tokenizer)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = pairs(60)
    asked = [row["prompt"] for row in rows[:32]]
    write(folder / "train.jsonl", rows[:32])
    others = [row for row in rows[32:] if row["prompt"] not in asked][:12]
    others = [row | {"category": ("Chat Hard", "safety")[i % 3 > 1], "id": f"o{i}"}
              for i, row in enumerate(others)]  # fmt: skip
    write(folder / "other.jsonl", others)
    empty = others[0] | {"id": "empty", "rejected": ""}
    write(folder / "shared.jsonl", [rows[0], rows[1], empty, *others[:2]])
    return folder


@pytest.fixture
def given(folder_made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "home"))
    return folder_made


@pytest.fixture(scope="module")
def finished(folder_made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one run that measured the set."""
    home = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIEBREAK_HOME", str(home))
        execute(run_of(folder_made))
    return home


@pytest.fixture
def done(finished: Path, given: Path, tmp_path: Path) -> Path:
    """The same folder as `given`; the home is a copy of the finished one."""
    shutil.copytree(finished, tmp_path / "home")
    return given


def run_of(
    given: Path, *overrides: str, sets: Sequence[str] = ("other",), model: Path | None = None
) -> Run:
    files = ",".join(str(given / f"{name}.jsonl") for name in sets)
    return compose([
        *SMALL, "train.max_steps=2", "data.test_share=0.1", "evaluation.evaluators=[pairs]",
        f"model={model or given / 'model'}", f"data={given / 'train.jsonl'}",
        "scenario=align-from-base", f"evaluation.pair_sets=[{files}]", *overrides,
    ])  # fmt: skip


def result_of(outcome: Outcome) -> tuple[Path, dict[str, Any]]:
    folder = outcome.folder / "evaluations" / outcome.evaluation_id
    return folder, json.loads((folder / "result.json").read_text())


def test_a_run_measures_the_set_and_a_table_prints_it(done: Path) -> None:
    outcome = execute(run_of(done))
    assert outcome.already
    folder, result = result_of(outcome)
    metrics, columns = result["metrics"], pq.read_table(folder / "items" / "other.parquet")
    items = columns.to_pydict()
    assert items["id"] == [f"o{i}" for i in range(12)]
    right = [c > r for c, r in zip(items["logp/chosen/after"], items["logp/rejected/after"],
                                   strict=True)]  # fmt: skip
    assert metrics["other/likelihood"] == pytest.approx(sum(right) / 12)
    hard = [r for r, name in zip(right, items["category"], strict=True) if name == "Chat Hard"]
    assert len(hard) == 8 and metrics["other/Chat-Hard/likelihood"] == pytest.approx(sum(hard) / 8)
    drift = zip(items["drift/chosen"], items["drift/rejected"], strict=True)
    assert metrics["other/drift"] == pytest.approx(sum(c > r for c, r in drift) / 12)
    assert "other/safety/likelihood_per_token" in metrics
    assert result["start"]["metrics"].keys() & {"other/likelihood", "other/drift"} == {
        "other/likelihood"
    }
    assert result["overlap"] == {
        "other": {"questions": 12, "overlapping": 0, "short": 0, "shared": 0}
    }
    runs = load(outcome.folder.parent)
    names = [name for name in metrics if name.startswith("other/")]
    assert len(names) == 9
    values, odd = per_item(runs, runs.records, names)
    assert not odd and {name for _, name in values} == set(names)
    table = comparison(runs)
    shown = [column.metric for column in table.sections[0].columns]
    assert "other/likelihood" in shown and "other/drift" in shown
    assert "other/safety/drift" not in shown
    assert "overlap of training data with other: 0.0 % of questions" in markdown(table)
    assert "other/safety/drift" in markdown(comparison(runs, metrics=["other/safety/drift"]))


def test_another_set_is_measured_alone_and_the_rest_is_reused(done: Path) -> None:
    first = execute(run_of(done))
    second = run_of(done, "evaluation.max_shared_prompts=0.5", sets=("other", "shared"))
    said: list[str] = []
    outcome = execute(second, said.append)
    assert outcome.folder == first.folder and outcome.evaluation_id == first.evaluation_id
    built = [stage for (stage, _), reused in outcome.artefacts.items() if not reused]
    assert sorted(built) == ["overlap", "shared", "shared", "tokens"]
    assert "shared pairs: 4 rows kept, dropped 1 empty-response" in said
    _, result = result_of(outcome)
    assert set(result["overlap"]) == {"other", "shared"}
    assert result["overlap"]["shared"]["shared"] == 2
    assert result["overlap"]["shared"]["overlapping"] >= 2
    manifest = json.loads((outcome.folder / "manifest.json").read_text())
    assert manifest["dropped"]["shared pairs"] == {"empty-response": 1}


def test_training_prompts_are_refused_before_training(given: Path) -> None:
    run = run_of(given, sets=("shared",))
    with pytest.raises(UserError, match=r"2 of 4 prompts of shared \(50.0%\) are prompts of the "
                       r"training data.*max_shared_prompts \(now 0\)"):  # fmt: skip
        execute(run)
    store = Store(artefacts_dir())
    assert store.has("tokens", run.plan.tokens.key) and not store.has("align", run.plan.align.key)


def test_questions_of_a_benchmark_are_looked_for_in_the_training_rows(
    given: Path, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in (given / "train.jsonl").read_text().splitlines()]
    others = [json.loads(line) for line in (given / "other.jsonl").read_text().splitlines()]
    asked = [row["prompt"][0]["content"] for row in (*lines[:2], *others[:2])]
    rows = [{"sentence": f"{text} the _ river", "option1": "old", "option2": "small", "answer": "1"}
            for text in asked]  # fmt: skip
    made.write(tmp_path, "allenai/winogrande", {"winogrande_xl": {"train": rows,
                                                                  "validation": rows}})  # fmt: skip
    run = run_of(given, "evaluation.evaluators=[]", "evaluation.benchmarks=[winogrande]",
                 f"evaluation.mirror={tmp_path}", "data.test_share=0.01", sets=())  # fmt: skip
    kept = {prompt_key(one.prompt) for one in run.data.rows("train")}
    expected = sum(prompt_key(text) in kept for text in asked)
    _, result = result_of(execute(run))
    assert expected and result["overlap"] == {
        "winogrande": {"questions": 4, "overlapping": expected, "short": 0}
    }


def test_what_names_the_artefacts(given: Path, tmp_path: Path) -> None:
    def keys(run: Run) -> tuple[str, str, str]:
        measured = run.plan.evaluations["other"]
        return measured.definition, measured.start.key, measured.policy.key

    run = run_of(given)
    same = ("evaluation.num_prompts=3", "evaluation.seed=4", "evaluation.max_shared_prompts=0.1",
            "data.max_rows=9")  # fmt: skip
    for override in same[:3]:
        assert keys(run_of(given, override)) == keys(run)
    assert keys(run_of(given, same[3]))[:2] == keys(run)[:2]
    assert run_of(given).evaluation_id == run_of(given, sets=()).evaluation_id
    shorter = keys(run_of(given, "data.max_length=64"))
    assert not set(shorter) & set(keys(run))
    shutil.copytree(given / "model", tmp_path / "model")
    config = tmp_path / "model" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"x": 1}))
    other = keys(run_of(given, model=tmp_path / "model"))
    assert other[0] == keys(run)[0] and other[1] != keys(run)[1]


@pytest.mark.parametrize("name", ["gold", "pairs", "tokens", "drift", "accuracy"])
def test_a_name_that_something_else_has_is_refused(name: str, given: Path, tmp_path: Path) -> None:
    shutil.copy(given / "other.jsonl", tmp_path / f"{name}.jsonl")
    shutil.copy(given / "train.jsonl", tmp_path)
    with pytest.raises(UserError, match=f"{name} is the name of something else"):
        run_of(tmp_path, sets=(name,), model=given / "model")


def test_a_set_of_which_nothing_is_left(given: Path, tmp_path: Path) -> None:
    write(tmp_path / "alike.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "a"}])
    run = run_of(given, f"evaluation.pair_sets=[{tmp_path / 'alike.jsonl'}]", sets=())
    with pytest.raises(UserError, match=r"alike has no pair to score \(1 chosen-is-rejected\)"):
        execute(run)


def test_a_plan_says_what_it_costs(given: Path) -> None:
    costs = {(one.stage.name, one.stage.what): one.cost for one in estimate([run_of(given)]).stages}
    assert costs["other", "policy"].disk == 200 * 12 and not costs["other", "policy"].missing
    assert {("tokens", "other pairs"), ("overlap", "other")} < set(costs)


def test_a_search_looks_at_the_set_as_its_stage_does(done: Path) -> None:
    run = run_of(done)
    store, start = Store(artefacts_dir()), run.plan.evaluations["other"].start
    rows = read_rows(store.path("other", start.key) / ITEMS)
    expected = evaluator_of("other", run.evaluation).metrics(rows)
    held_out = store.path("tokens", run.plan.held_out.key)
    assert expected.items() <= validate(run, held_out, load_model(done / "model")).items()


def test_metrics_of_pair_sets_are_known_by_their_form() -> None:
    whole, part = evaluation_metric("hh/likelihood"), evaluation_metric("hh/Chat-Hard/drift")
    assert (whole.evaluator, whole.shown) == ("hh", Shown.TABLES)
    assert part.shown is Shown.ON_REQUEST and part.items[-1] == "category/Chat-Hard"
    assert part.formula(2.0, 1.0, 1.0) == 1.0
    assert evaluation_metric("hh/likelihood_per_token").formula(-4.0, -3.0, 4, 2) == 1.0
    assert evaluation_metric("accuracy/drift").evaluator == "pairs"
    for name in ("drift/a/likelihood", "hh/a/b/likelihood", "likelihood", "hh/other"):
        assert evaluation_metric(name).evaluator is None
