"""What names a benchmark, before lm-eval is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.made import make_mirror, winogrande, write
from tiebreak.compose import Run, compose
from tiebreak.errors import UserError
from tiebreak.harness.tasks import Benchmark, data_paths, folder_of


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mirror(tmp_path_factory.mktemp("mirror"))


def asked(mirror: Path, *benchmarks: str, **more: object) -> Run:
    words = [f"evaluation.{key}={value}" for key, value in more.items()]
    return compose(
        [f"evaluation.benchmarks=[{','.join(benchmarks)}]", f"evaluation.mirror={mirror}", *words]
    )


def keys(run: Run) -> dict[str, str]:
    return {name: one.policy.key for name, one in run.plan.evaluations.items()}


def test_a_task_with_its_shots() -> None:
    assert Benchmark.read("arc_challenge@25") == Benchmark("arc_challenge", 25)
    assert Benchmark.read("mmlu") == Benchmark("mmlu", None)
    with pytest.raises(UserError, match="'arc@' is not TASK or TASK@SHOTS"):
        Benchmark.read("arc@")


@pytest.mark.parametrize(
    ("task", "folder", "data"),
    [
        ("arc_challenge", "arc", "allenai/ai2_arc"),
        ("boolq", "super_glue", "aps/super_glue"),
        ("mmlu", "mmlu", "cais/mmlu"),
        ("bigbench_sports_understanding_multiple_choice", "bigbench", "hails/bigbench"),
    ],
)
def test_where_a_task_is_and_what_it_reads(task: str, folder: str, data: str) -> None:
    assert folder_of(task).name == folder
    assert data in data_paths(task)


def test_an_unknown_task_is_told_the_nearest() -> None:
    with pytest.raises(UserError, match="no task 'arc_chalenge' .nearest: 'arc_challenge'"):
        folder_of("arc_chalenge")


def test_a_benchmark_changes_no_other_key_and_no_id(mirror: Path) -> None:
    none, one, two = (asked(mirror, *some) for some in ((), ("winogrande",),
                                                       ("winogrande", "mmlu_anatomy")))  # fmt: skip
    assert none.run_id == one.run_id == two.run_id
    assert none.evaluation_id == one.evaluation_id == two.evaluation_id
    assert keys(none).items() <= keys(one).items() <= keys(two).items()
    assert set(keys(two)) - set(keys(none)) == {"winogrande", "mmlu_anatomy"}


def test_what_changes_the_answers_changes_the_key(mirror: Path, tmp_path: Path) -> None:
    plain = asked(mirror, "winogrande")
    others = [
        asked(mirror, "winogrande@3"),
        asked(mirror, "winogrande", questions=3),
        asked(mirror, "winogrande", chat_template="true"),
    ]
    changed = make_mirror(tmp_path / "changed")
    rows = winogrande(11)
    write(changed, "allenai/winogrande", {"winogrande_xl": {"train": rows, "validation": rows}})
    others.append(asked(changed, "winogrande"))
    names = [keys(run)["winogrande"] for run in (plain, *others)]
    assert len(set(names)) == len(names)
    definitions = {run.evaluators["winogrande"] for run in (plain, *others)}
    assert len(definitions) == len(names), "no table mixes them in a column"
    elsewhere = asked(make_mirror(tmp_path / "copy"), "winogrande")
    assert keys(elsewhere) == keys(plain), "where the data lie does not count"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["winogrande", "winogrande@5"], "names winogrande twice"),
        (["piqa"], "has no data for piqa .looked for baber/piqa"),
        (["pairs"], "pairs is an evaluator's name"),
        (["hellaswagg"], "no task 'hellaswagg'"),
    ],
)
def test_mistakes(mirror: Path, words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        asked(mirror, *words)


def test_a_plan_imports_neither_torch_nor_lm_eval(mirror: Path) -> None:
    code = (
        "import sys; from tiebreak.compose import compose\n"
        f"compose(['evaluation.benchmarks=[winogrande]', 'evaluation.mirror={mirror}'])\n"
        "print(sorted({'torch', 'lm_eval', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
