"""A mirror of plain files: lm-eval's stock tasks write the files' own text again from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import pytest
from lm_eval.tasks import TaskManager

from tiebreak.cli import main
from tiebreak.errors import UserError
from tiebreak.harness import mirror

Row = dict[str, Any]
STOCK = Path(lm_eval.__file__).parent / "tasks"
FOLDERS = (
    "arc", "bbh/zeroshot", "bbh/fewshot", "bigbench/multiple_choice", "gsm8k", "hellaswag",
    "mmlu/default", "openbookqa", "piqa", "super_glue/boolq", "truthfulqa", "winogrande",
)  # fmt: skip


def rows(*queries: str, choices: int = 4, **others: Any) -> list[Row]:
    """Questions with `choices` answers; the right ones go round."""
    return [
        {"id": f"made/{index}", "query": query, "gold": index % choices,
         "choices": [f"{word} of {index}" for word in "all some none most".split()[:choices]],
         **others}
        for index, query in enumerate(queries)
    ]  # fmt: skip


ASKED = ("What is {{ round }}?", 'Who "is"\nwet?', "Why?\tWhy  not?", "Wo — wo?", "Say 'it'.")
TRUE = {"correct": ["all of 0", "yes, all"], "incorrect": ["some of 0"]}
INSTRUCTIONS: list[Row] = [
    {"key": 1, "prompt": "Say it in lower case.", "kwargs": [{}],
     "instruction_id_list": ["change_case:english_lowercase"]},
    {"key": 2, "prompt": "Say it with cat in it, in 9 words.",
     "instruction_id_list": ["keywords:existence", "length_constraints:number_words"],
     "kwargs": [{"keywords": ["cat"]}, {"num_words": 9, "relation": "at least"}]},
]  # fmt: skip
FILES: dict[str, list[Row]] = {
    **{f"arc_{kind}_{split}": rows(*(f"{split} {one}" for one in ASKED))
       for kind in ("easy", "challenge") for split in ("train", "test")},
    **{f"openbookqa_{split}": rows(*(f"{split} {one}" for one in ASKED))
       for split in ("train", "test")},
    "hellaswag_val": rows(*(f"Making tea: First: {one}" for one in ASKED)),
    "winogrande_val": rows("The cup did not fit the box, as _ was big.", "He, _ , ran.", "_ won.",
                           "A _ b _ c.", choices=2),
    "piqa_val": rows(*ASKED, choices=2),
    **{f"gsm8k_{split}": [{"question": f"{split} {n} and {n}?", "answer": f"It is {n}.\n#### {n}"}
                          for n in range(6)] for split in ("train", "test")},
    "truthfulqa_mc1": [{**row, "gold": 0} for row in rows(*ASKED)],
    "truthfulqa_csv": [{"question": one, **TRUE} for one in reversed(ASKED)],
    **{f"mmlu_{split}": rows(f" {split} one?", f"{split} two?\n", subject="anatomy")
       + rows(f"{split} three?", subject="virology") for split in ("dev", "test")},
    "boolq_val": [{**row, "choices": ["no", "yes"]}
                  for row in rows(*(f"It is so.\nQuestion: or\nQuestion: {one} so?\nAnswer:"
                                    for one in ASKED), choices=2)],
    **{f"bigbench_{task}": rows(*ASKED, choices=2) for task in
       ("causal_judgment", "sports_understanding", "formal_fallacies_syllogisms_negation")},
    **{f"bbh_{task}": [{"question": one, "answer": f"no {n}"} for n, one in enumerate(ASKED)]
       for task in ("causal_judgement", "sports_understanding", "formal_fallacies")},
    "ifeval": INSTRUCTIONS,
}  # fmt: skip


def put(folder: Path, files: dict[str, list[Row]]) -> Path:
    folder.mkdir(exist_ok=True)
    for stem, given in files.items():
        lines = "".join(json.dumps(row) + "\n" for row in given)
        (folder / f"{stem}.jsonl").write_text(lines)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    mirror.make(put(tmp_path_factory.mktemp("files"), FILES), folder)
    return folder


@pytest.fixture(scope="module")
def manager() -> TaskManager:
    return TaskManager(include_path=[str(STOCK / f) for f in FOLDERS], include_defaults=False)


@pytest.fixture
def task(
    made: Path, manager: TaskManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """A stock task by name, its data set taken from the mirror `at`."""
    load = datasets.load_dataset

    def get(name: str, at: Path = made) -> Any:
        def redirected(path: str, name: str | None = None, **others: Any) -> Any:
            return load(str(at / path), name, cache_dir=str(tmp_path / "cache"), **others)

        monkeypatch.setattr(datasets, "load_dataset", redirected)
        return manager.load([name])["tasks"][name]

    return get


def as_question(row: Row) -> tuple[Any, ...]:
    return f"Question: {row['query']}\nAnswer:", row["choices"], row["gold"]


def as_it_is(row: Row) -> tuple[Any, ...]:
    return row["query"], row["choices"], row["gold"]


def as_sentence(row: Row) -> tuple[Any, ...]:
    before, _, after = row["query"].partition("_")
    return row["gold"], [before + one for one in row["choices"]], after.strip()


def as_letters(row: Row) -> tuple[Any, ...]:
    lines = [row["query"].strip(), *map("{}. {}".format, "ABCD", row["choices"]), "Answer:"]
    return "\n".join(lines), list("ABCD"), row["gold"]


STOCK_TASKS: dict[str, tuple[str, Callable[[Row], tuple[Any, ...]]]] = {
    "arc_easy": ("arc_easy_test", as_question),
    "arc_challenge": ("arc_challenge_test", as_question),
    "hellaswag": ("hellaswag_val", as_it_is),
    "winogrande": ("winogrande_val", as_sentence),
    "piqa": ("piqa_val", as_question),
    "gsm8k": ("gsm8k_test", lambda row: (f"Question: {row['question']}\nAnswer:", row["answer"])),
    "openbookqa": ("openbookqa_test", as_it_is),
    "boolq": ("boolq_val", as_it_is),
    "bigbench_causal_judgment_multiple_choice": ("bigbench_causal_judgment", as_it_is),
    "bigbench_sports_understanding_multiple_choice": ("bigbench_sports_understanding", as_it_is),
    "bigbench_formal_fallacies_syllogisms_negation_multiple_choice": (
        "bigbench_formal_fallacies_syllogisms_negation", as_it_is),
    **{f"bbh_{kind}_{name}": (f"bbh_{name}", lambda row: (f"Q: {row['question']}\nA:",
                                                         row["answer"]))
       for name in ("causal_judgement", "sports_understanding", "formal_fallacies")
       for kind in ("zeroshot", "fewshot")},
}  # fmt: skip


def said_by(task: Any) -> Iterator[tuple[Any, ...]]:
    """What a task makes of each row: text, choices where there are some, target."""
    for doc in task.eval_docs:
        choices = [task.doc_to_choice(doc)] if task.config.doc_to_choice is not None else []
        yield task.doc_to_text(doc), *choices, task.doc_to_target(doc)


@pytest.mark.parametrize("name", STOCK_TASKS)
def test_a_stock_task_writes_the_files_own_text(name: str, task: Callable[..., Any]) -> None:
    stem, expected = STOCK_TASKS[name]
    assert list(said_by(task(name))) == [expected(row) for row in FILES[stem]]


def test_mmlu_has_a_configuration_for_each_subject(task: Callable[..., Any]) -> None:
    for subject, number in (("anatomy", 2), ("virology", 1)):
        its = [row for row in FILES["mmlu_test"] if row["subject"] == subject]
        one = task(f"mmlu_{subject}")
        assert list(said_by(one)) == [as_letters(row) for row in its] and len(its) == number
        shots = one.fewshot_context(one.eval_docs[0], 1)
        assert shots.index("dev ") < shots.index("test one" if number == 2 else "test three")


def test_truthfulqa_joins_its_two_files(task: Callable[..., Any]) -> None:
    for text, choices, target in said_by(task("truthfulqa_mc1")):
        row = next(row for row in FILES["truthfulqa_mc1"] if f"\nQ: {row['query']}\nA:" in text)
        assert choices == row["choices"] and target == 0
    second = task("truthfulqa_mc2")
    assert {tuple(choices) for _, choices, _ in said_by(second)} == {
        ("all of 0", "yes, all", "some of 0")
    }
    assert [doc["mc2_targets"]["labels"] for doc in second.eval_docs] == [[1, 1, 0]] * len(ASKED)


def test_ifeval(made: Path, tmp_path: Path) -> None:
    """Its task imports what not everybody has installed, so this is the data set alone."""
    found = datasets.load_dataset(str(made / "google/IFEval"), cache_dir=str(tmp_path))["train"]
    assert list(found["prompt"]) == [row["prompt"] for row in INSTRUCTIONS]
    given = [[{k: v for k, v in one.items() if v} for one in doc["kwargs"]] for doc in found]
    assert given == [row["kwargs"] for row in INSTRUCTIONS]


@pytest.mark.parametrize("name", ["hellaswag", "piqa", "winogrande", "boolq"])
def test_no_question_is_its_own_shot(name: str, made: Path, task: Callable[..., Any]) -> None:
    """Of those whose shots are from the rows that are evaluated."""
    path = {"hellaswag": "Rowan/hellaswag", "piqa": "baber/piqa", "boolq": "aps/super_glue",
            "winogrande": "allenai/winogrande"}[name]  # fmt: skip
    (entry,) = mirror.contents(made)[path].values()
    assert entry["shots from"] == "validation" and entry["own question left out of shots"]
    one, taken = task(name), []
    one.set_config("num_fewshot", 2)
    one.set_fewshot_seed(7)
    sample = one.sampler.sample
    one.sampler.sample = lambda *args, **named: taken.append(sample(*args, **named)) or taken[-1]
    for doc in one.eval_docs:
        one.fewshot_context(doc, 2)
        assert len(taken[-1]) == 2 and doc not in taken[-1]


def test_shots_of_the_evaluated_rows_where_lm_eval_keeps_the_question(
    tmp_path: Path, task: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its training rows ARC loads, and the mirror says that 0 shots alone are sound."""
    files = put(tmp_path / "files", {"arc_easy_test": FILES["arc_easy_test"]})
    main(["mirror", "make", "--from", str(files), "--to", str(tmp_path / "made")])
    assert capsys.readouterr().out == (
        "allenai/ai2_arc (ARC-Easy): test 5\n"
        "  shots from: test, for there are no train rows; a question can be among its own shots: "
        "evaluate with 0 shots\n"
        f"mirror: {tmp_path / 'made'}\n"
    )
    entry = mirror.contents(tmp_path / "made")["allenai/ai2_arc"]["ARC-Easy"]
    assert entry["shots from"] == "test" and not entry["own question left out of shots"]
    assert entry["splits"]["train"] == {
        **entry["splits"]["test"], "file": "ARC-Easy/train.parquet"
    }  # fmt: skip
    assert len(task("arc_easy", tmp_path / "made").eval_docs) == 5


def test_the_same_files_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    mirror.make(put(tmp_path / "files", FILES), tmp_path / "made")
    assert content(tmp_path / "made") == content(made)


def test_identity_follows_the_rows(made: Path, tmp_path: Path) -> None:
    other = [{**FILES["piqa_val"][0], "gold": 1}, *FILES["piqa_val"][1:]]
    mirror.make(put(tmp_path / "files", FILES | {"piqa_val": other}), tmp_path / "made")
    before, after = mirror.contents(made), mirror.contents(tmp_path / "made")
    assert {path for path in before if before[path] != after[path]} == {"baber/piqa"}
    assert before["baber/piqa"]["default"]["sha256"] != after["baber/piqa"]["default"]["sha256"]


def test_making_it_again_keeps_what_holds_and_takes_away_what_does_not(tmp_path: Path) -> None:
    files, folder = put(tmp_path / "files", FILES), tmp_path / "made"
    mirror.make(files, folder)
    (folder / "mine.txt").write_text("not of the mirror")
    kept = folder / "baber/piqa/default/validation.parquet"
    time = kept.stat().st_mtime_ns
    (files / "ifeval.jsonl").unlink()
    mirror.make(files, folder)
    assert kept.stat().st_mtime_ns == time and (folder / "mine.txt").exists()
    assert not list((folder / "google").rglob("*.parquet"))
    assert "google/IFEval" not in mirror.contents(folder)


def test_what_lm_eval_cuts_is_told(tmp_path: Path) -> None:
    cut = rows("Tea: Pour.", "Tea: See [the pot].", " Tea: Stir.")
    files = put(tmp_path / "files", {"hellaswag_val": cut, "hellaswg": []})
    said = mirror.make(files, tmp_path / "made")
    note = f"note: {files}/hellaswag_val.jsonl: lm-eval's task cuts [brackets] and white space"
    assert any(line.startswith(note) and "2 rows, the first in line 2" in line for line in said)
    assert f"passed over: {files}/hellaswg.jsonl: no benchmark of this name (nearest: " in "".join(
        said
    )


def changed(stem: str, **others: Any) -> dict[str, list[Row]]:
    """That file with its second row changed; None takes a column away."""
    given = {**FILES[stem][1], **others}
    row = {name: one for name, one in given.items() if one != "away"}
    return {stem: [FILES[stem][0], row]}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (changed("arc_easy_test", choices="away"), "arc_easy_test.jsonl:2: no column 'choices'"),
        (changed("arc_easy_test", query=7), "jsonl:2: 'query' is a int; give text"),
        (changed("arc_easy_test", query=" "), "jsonl:2: 'query' is empty"),
        (changed("arc_easy_test", choices=["a", 1]), "jsonl:2: 'choices' is a int; give text"),
        (changed("arc_easy_test", choices=["a"]), "jsonl:2: 'choices' has 1 texts"),
        (changed("arc_easy_test", gold=4), "jsonl:2: 'gold' is 4; there are 4 choices"),
        (changed("arc_easy_test", gold="B"), "jsonl:2: 'gold' is 'B'; give the index"),
        (changed("arc_easy_test", gold=True), "jsonl:2: 'gold' is True; give the index"),
        (changed("hellaswag_val", gold=None), "jsonl:2: 'gold' is None: no label; give a split"),
        (changed("hellaswag_val", gold=-1), "jsonl:2: 'gold' is -1: no label; give a split"),
        (changed("hellaswag_val", query="Tea."), "jsonl:2: 'query' has no ': '"),
        (changed("winogrande_val", query="It won."), "jsonl:2: 'query' has no '_'"),
        (changed("piqa_val", choices=["a", "b", "c"]), "jsonl:2: 'choices' has 3 texts"),
        (changed("gsm8k_test", answer="It is 3."), "jsonl:2: 'answer' has no '#### '"),
        (changed("mmlu_test", subject="../x"), "jsonl:2: 'subject' is '../x'; give a name"),
        (changed("boolq_val", choices=["yes", "no"]), "jsonl:2: 'choices' is ['yes', 'no']"),
        (changed("boolq_val", query="Is it?"), "jsonl:2: 'query' is not 'PASSAGE"),
        (changed("bigbench_causal_judgment", choices=["a", "a"]), "jsonl:2: 'choices' has a text"),
        (changed("bbh_formal_fallacies", answer="away"), "jsonl:2: no column 'answer'"),
        (changed("truthfulqa_mc1", gold=1) | {"truthfulqa_csv": FILES["truthfulqa_csv"]},
         "truthfulqa_mc1.jsonl:2: 'gold' is 1; lm-eval takes the first choice"),
        (changed("truthfulqa_mc1") | {"truthfulqa_csv": FILES["truthfulqa_csv"][:-1]},
         "truthfulqa_mc1.jsonl:1: truthfulqa_csv.jsonl has no such question"),
        (changed("truthfulqa_mc1"), "truthfulqa_csv.jsonl is missing beside it"),
        (changed("truthfulqa_csv"), "truthfulqa_csv.jsonl: there is no file that it goes with"),
        (changed("truthfulqa_mc1") | {"truthfulqa_csv": FILES["truthfulqa_csv"][:1] * 2},
         "truthfulqa_csv.jsonl:2: 'question' stands twice"),
        (changed("ifeval", kwargs=[{}]), "jsonl:2: 'kwargs' wants a list: one object for each"),
        (changed("ifeval", kwargs=[{"keyword": 1}, {}]), "jsonl:2: 'keyword' is a int"),
        (changed("ifeval", kwargs=[{"num_word": 1}, {}]), "(nearest: 'num_words')"),
        (changed("ifeval", kwargs=[{"num_words": "9"}, {}]), "jsonl:2: 'kwargs' has num_words='9'"),
        (changed("ifeval", key="1"), "jsonl:2: 'key' is '1'; give a whole number"),
        ({"gsm8k_train": FILES["gsm8k_train"]}, "gsm8k_train.jsonl: openai/gsm8k (main) has no "
                                                "rows to evaluate"),
        ({"gsm8k_test": []}, "gsm8k_test.jsonl: no rows"),
        ({"alpaca": []}, "no file of a benchmark; there could be arc_easy_train.jsonl"),
    ],
)  # fmt: skip
def test_bad_files_are_one_line_and_nothing_is_written(
    files: dict[str, list[Row]], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = put(tmp_path / "files", files)
    with pytest.raises(SystemExit) as stop:
        main(["mirror", "make", "--from", str(source), "--to", str(tmp_path / "made")])
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == "" and err.count("\n") == 1
    assert err.startswith(f"tiebreak: {source}") and said in err
    assert not (tmp_path / "made").exists()


def test_folders_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder; give --from"):
        mirror.make(tmp_path / "none", tmp_path / "made")
    files = put(tmp_path / "files", {"piqa_val": FILES["piqa_val"]})
    with pytest.raises(UserError, match="cannot be written"):
        mirror.make(files, files / "piqa_val.jsonl")
    with pytest.raises(UserError, match="no mirror, or one half made"):
        mirror.contents(files)
    (files / mirror.CONTENTS).write_text('{"format": 7, "datasets": {}}')
    with pytest.raises(UserError, match="format 7, not 1"):
        mirror.contents(files)
    (files / mirror.CONTENTS).write_text("[]")
    with pytest.raises(UserError, match="cannot be read"):
        mirror.contents(files)
