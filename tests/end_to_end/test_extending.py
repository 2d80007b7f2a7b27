"""docs/extending.md, done as it says in a copy of the project; the files it touches are counted."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests import forked
from tests.end_to_end.commands import BASE, Answer, environment, read_json

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
CHANGE = re.compile(r"^`(\S+?)`(?:, after `(.*?)`)?:\n\n```\w+\n(.*?)^```$", re.M | re.S)
SECTIONS = {
    title: CHANGE.findall(text)
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
}
AT_MOST = {
    "A config key": 1,
    "An evaluation metric": 2,
    "An evaluator": 3,
    "A source of data that samples from a model": 4,
    "An engine for sweeps": 2,
}
LAST_CHECK = """
import json
from tiebreak.compose import compose, to_run
one = json.loads({config!r})
print(to_run(one).run_id, compose({overrides!r}).run_id,
      compose([*{overrides!r}, "train.layer_decay=0.9"]).run_id)
"""


def touched(section: str) -> set[str]:
    return {path for path, _, _ in SECTIONS[section]}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with everything on the page added."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("src", "conf", "sweeps", "analysis"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def add(copy: Path, section: str) -> None:
    for path, after, text in SECTIONS[section]:
        file = copy / path
        if not after:
            assert not file.exists(), "the page adds what is not there"
            file.write_text(text)
            continue
        lines = file.read_text().splitlines(keepends=True)
        (at,) = [n for n, line in enumerate(lines) if line.startswith(after)]
        if after.startswith("    return"):  # the text goes on with the expression
            text = f"{lines.pop(at).rstrip()} {text.strip()}\n"
            lines.insert(at, text)
        else:
            lines.insert(at + 1, text)
        file.write_text("".join(lines))


def say(copy: Path, home: Path, *arguments: str, cwd: Path | None = None) -> Answer:
    done = forked.run([sys.executable, *arguments], cwd=cwd or copy,
                      env=environment(home, PYTHONPATH=str(copy / "src")))  # fmt: skip
    return Answer(done.returncode, done.stdout, done.stderr)


def tiebreak(copy: Path, home: Path, *arguments: str) -> Answer:
    answer = say(copy, home, "-m", "tiebreak.cli", *arguments)
    assert answer.code == 0, answer.err
    return answer


def test_the_page_says_how_many_files_each_touches() -> None:
    assert {section: len(touched(section)) <= most for section, most in AT_MOST.items()} == (
        dict.fromkeys(AT_MOST, True)
    )
    table = dict(re.findall(r"^\| (an? [^|]*?) \| (\d) \|", PAGE, re.MULTILINE))
    assert list(map(int, table.values())) == [*(len(touched(s)) for s in AT_MOST), 1]


def test_a_finished_run_stays_finished_whatever_is_added(copy: Path, home: Path) -> None:
    """One walk: a run, then each addition in turn on top of it."""
    first = tiebreak(copy, home, "run", *BASE)
    config = read_json_yaml(first.record / "config.yaml")
    for section in AT_MOST:
        add(copy, section)
    again = tiebreak(copy, home, "run", *BASE)
    assert "\nthis run is done; record: " in again.out
    ids = say(copy, home, "-c", LAST_CHECK.format(config=config, overrides=BASE)).out.split()
    assert ids[0] == ids[1] == first.record.name != ids[2]

    longest = tiebreak(copy, home, "run", *BASE, "seed=2")
    (result,) = longest.record.glob("evaluations/*/result.json")
    assert read_json(result)["metrics"]["length/longest"] >= 1

    quiz = tiebreak(copy, home, "run", *BASE, "evaluation=quiz")
    assert "stages: 2 built" in quiz.out, "the quiz of the start model and of the policy alone"
    (result,) = quiz.record.glob("evaluations/*/result.json")
    assert "quiz/accuracy" in read_json(result)["metrics"]
    table = tiebreak(copy, home, "table", "--metrics", "quiz/accuracy").out
    assert "quiz/accuracy (%)" in table and "1.0" not in table.split("quiz/accuracy")[0]

    small = ("data=sampled", "data.num_prompts=24", "data.num_test_prompts=8",
             "data.max_new_tokens=8")  # fmt: skip
    world = [one for one in BASE if not one.startswith("data.")]
    sampled = tiebreak(copy, home, "run", *world, *small)
    assert "tokens" in (sampled.record / "manifest.json").read_text()
    planned = tiebreak(copy, home, "plan", *world, *small, "seed=5").out
    assert re.search(r"cached +tokens +train rows", planned), "shared by seeds: the model is one"

    help_text = say(copy, home, "-m", "tiebreak.cli", "sweep", "--help").out
    assert "serial" in help_text
    sweep = {"axes": {"seed": [1, 3]}, "fixed": dict(one.split("=") for one in BASE)}
    (home / "two.yaml").write_text(json.dumps(sweep))
    done = tiebreak(copy, home, "sweep", str(home / "two.yaml"), "--engine", "serial")
    assert "2 runs: 1 done now, 1 finished before, 0 failed" in done.out


def read_json_yaml(path: Path) -> str:
    import yaml

    return json.dumps(yaml.safe_load(path.read_text()))
