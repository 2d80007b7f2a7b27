"""A program that writes the answers: what it is given, what it may give back, and how it fails."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.config.quick import quick
from tests.tiny import make_model
from tiebreak.config.schema import GeneratorConfig
from tiebreak.errors import UserError
from tiebreak.kept_answers import KeptAnswers
from tiebreak.stages import generator
from tiebreak.stages.generator import Request, Weights, seed_of
from tiebreak.sweep.sweep_file import read_sweep_file

FAKE = Path(__file__).parent / "fake_vllm"
SCRIPT = """
import json, os, sys, time
requests, answers, model = sys.argv[1:4]
if "--version" in sys.argv:
    sys.exit(print("mine 1"))
asked = [json.loads(line) for line in open(requests)]
out = open(answers, "a")
def answer(name, *ids):
    print(json.dumps({"id": name, "token_ids": ids}), file=out, flush=True)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_model().save_pretrained(folder)
    return folder


def requests(number: int = 3, temperature: float = 0.0) -> list[Request]:
    return [Request(f"item {n}", [5 + n, 6, 7], 8, temperature, seed_of(0, f"item {n}"), [2])
            for n in range(number)]  # fmt: skip


Run = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Run:
    """(answers that are kept, the error) of a script that has the requests as `asked`."""

    def done(body: str, number: int = 3, timeout: float = 60.0) -> tuple[dict[str, Any], str]:
        script = tmp_path / "script.py"
        script.write_text(SCRIPT + body)
        words = (sys.executable, str(script), "{requests}", "{answers}", "{model}")
        config = GeneratorConfig(command=words, version="mine 1", timeout=timeout)
        kept, said = KeptAnswers(tmp_path / "kept"), ""
        asked = [one for one in requests(number) if kept.get(one.id) is None]
        try:
            generator.generate(config, Weights(model, None, None), "float32", asked, kept,
                               tmp_path / "program")  # fmt: skip
        except UserError as error:
            said = str(error)
        assert "\n" not in said
        known = KeptAnswers(tmp_path / "kept")
        return {one.id: known.get(one.id) for one in requests(number)}, said

    return done


ALL = 'for one in asked: answer(one["id"], 9, 2)\n'


def test_it_is_given_requests_and_gives_answers(run: Run, model: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    body = f'json.dump([asked[1], model, os.environ.get("PYTHONPATH")], open({str(told)!r}, "w"))\n'
    found, said = run(body + ALL)
    assert said == "" and found == {f"item {n}": [9, 2] for n in range(3)}
    assert json.loads(told.read_text()) == [
        {"id": "item 1", "prompt_token_ids": [6, 6, 7], "max_new_tokens": 8, "temperature": 0.0,
         "seed": seed_of(0, "item 1"), "end_token_ids": [2]},
        str(model), None,
    ]  # fmt: skip
    assert seed_of(0, "item 1") != seed_of(1, "item 1") != seed_of(1, "item 2")


@pytest.mark.parametrize(
    ("body", "kept", "error"),
    [
        ('answer("item 0", 9)\nsys.exit("no memory left")', 1,
         "it ended with code 1; its last words: 'no memory left' (LOG:1)"),
        ('answer("item 0", 9)\nos.kill(os.getpid(), 9)', 1,
         "it was killed by signal 9; it said nothing (LOG)"),
        ('answer("item 2", 9)\nanswer("item 0", 2)', 2,
         "ANSWERS: no answer to 'item 1' (REQUESTS:2)"),
        (ALL + 'answer("item 7", 9)', 3, "ANSWERS:4: id 'item 7' was not asked for"),
        (ALL + 'answer("item 1", 9)', 3,
         "ANSWERS:4: id 'item 1' is there already, at ANSWERS:2"),
        ('print("INFO loading", file=out)\n' + ALL, 3, "ANSWERS:1: not JSON: 'INFO loading'"),
        (ALL + 'print("[1]", file=out)', 3, "ANSWERS:4: not an object with id and token_ids"),
        ('answer("item 0")\nanswer("item 1", 1)', 1,
         "ANSWERS:1: token_ids of 'item 0' are not a list of one whole number or more"),
        ('answer("item 0", "a")', 0,
         "ANSWERS:1: token_ids of 'item 0' are not a list of one whole number or more"),
        ('answer("item 0", 300)', 0, "ANSWERS:1: token 300 of 'item 0' is none of the model's 300"),
        ('answer("item 0", -1)', 0, "ANSWERS:1: token -1 of 'item 0' is none of the model's 300"),
        ('answer("item 0", *[9] * 9)', 0,
         "ANSWERS:1: 9 tokens for 'item 0', and at most 8 were asked for"),
        ('answer("item 0", 2, 9)', 0,
         "ANSWERS:1: token_ids of 'item 0' go on after the end token"),
    ],
)  # fmt: skip
def test_a_failure_is_one_line_and_what_was_right_is_kept(
    body: str, kept: int, error: str, run: Run, tmp_path: Path
) -> None:
    found, said = run(body)
    for word, name in (("REQUESTS", "requests.jsonl"), ("ANSWERS", "answers.jsonl"),
                       ("LOG", "log.txt")):  # fmt: skip
        error = error.replace(word, str(tmp_path / "program" / name))
    assert said == (
        f"evaluation.generator.command: {error}; {kept} of 3 answers are kept, and the same "
        "command asks for the others"
    )
    assert sum(ids is not None for ids in found.values()) == kept


def test_the_next_attempt_asks_for_the_others_alone(run: Run, tmp_path: Path) -> None:
    run('answer("item 0", 9)\nsys.exit(1)')
    found, said = run('assert [one["id"] for one in asked] == ["item 1", "item 2"]\n'
                      'for one in asked: answer(one["id"], 8)')  # fmt: skip
    assert said == "" and found == {"item 0": [9], "item 1": [8], "item 2": [8]}


def test_one_that_hangs_is_ended_with_what_it_started(run: Run, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    body = (
        'answer("item 0", 9)\nimport subprocess\n'
        'child = subprocess.Popen(["sleep", "600"])\n'
        f'open({str(pid)!r}, "w").write(str(child.pid))\n'
        'print("waiting for a device", flush=True)\ntime.sleep(600)\n'
    )
    found, said = run(body, timeout=2.0)
    assert "no new answer for 2 s (evaluation.generator.timeout), and it was ended" in said
    assert "its last words: 'waiting for a device'" in said and found["item 0"] == [9]
    for _ in range(100):
        if not _runs(int(pid.read_text())):
            break
        time.sleep(0.1)
    assert not _runs(int(pid.read_text()))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return " Z " not in Path(f"/proc/{pid}/stat").read_text() if sys.platform == "linux" else True


def test_one_that_answers_slowly_is_not_ended(run: Run) -> None:
    found, said = run('for one in asked:\n    time.sleep(1.2)\n    answer(one["id"], 9)', timeout=3)
    assert said == "" and None not in found.values(), "3.6 s in all, with answers on the way"


def test_another_version_than_the_keys_have_is_refused(
    run: Run, model: Path, tmp_path: Path
) -> None:
    run(ALL)
    script = tmp_path / "script.py"
    script.write_text('print("mine 2")')
    with pytest.raises(UserError, match=r"version='mine 1', and the command says 'mine 2'"):
        _generate((sys.executable, str(script), "{model}"), model, tmp_path)
    script.write_text('import sys; sys.exit("no option --version")')
    with pytest.raises(UserError, match=r"with --version it ended with code 1; its last"):
        _generate((sys.executable, str(script), "{model}"), model, tmp_path)


def _generate(words: tuple[str, ...], model: Path, tmp_path: Path, trained: Any = None) -> None:
    config = GeneratorConfig(command=words, version="mine 1")
    generator.generate(config, Weights(model, None, trained), "float32", requests(),
                       KeptAnswers(None), tmp_path / "program")  # fmt: skip


def test_a_command_that_is_not_there_is_no_shells_command(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'python3 x.py' cannot be started \(No such file"):
        _generate(("python3 x.py", "{model}"), model, tmp_path)


def test_an_adapter_needs_its_place(model: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"has no \{adapter\}, and the model is an adapter on"):
        _generate(("python3", "{model}"), model, tmp_path, tmp_path)


PLACES = ["g.py", "{model}", "{requests}", "{answers}"]


@pytest.mark.parametrize(
    ("command", "version", "error"),
    [
        (PLACES[:3], "1", r"evaluation.generator.command has no word with \{answers\}"),
        ([*PLACES, "{modle}"], "1", r"unknown place \{modle\} \(nearest: '\{model\}'\)"),
        (PLACES, "null", "needs evaluation.generator.version, which names"),
    ],
)
def test_a_command_without_what_it_needs_is_refused(
    command: list[str], version: str, error: str
) -> None:
    words = ",".join(f'"{word}"' for word in command)
    with pytest.raises(UserError, match=error):
        quick(f"evaluation.generator.command=[{words}]", f"evaluation.generator.version={version}")


def test_the_version_names_the_answers_and_the_command_does_not() -> None:
    def keys(python: str, version: str, *more: str) -> dict[str, str]:
        words = ",".join(f'"{word}"' for word in (python, *PLACES))
        run = quick(f"evaluation.generator.command=[{words}]",
                    f"evaluation.generator.version={version}", *more)  # fmt: skip
        return run.evaluators | {"": run.evaluation_id}

    one, here = keys("/opt/one/python", "v1"), quick()
    assert keys("/opt/other/python", "v1", "evaluation.generator.timeout=9") == one
    assert keys("/opt/one/python", "v1", "evaluation.sampling=item") == one, "it has its own"
    other = keys("/opt/one/python", "v2")
    assert {name for name in one if one[name] != other[name]} == {"generations", "gold", ""}
    assert one["pairs"] == here.evaluators["pairs"] and one["gold"] != here.evaluators["gold"]


def test_the_documented_command_stands_in_a_sweep_file(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "generation.md").read_text()
    fixed = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"axes": {"method": ["dpo"], "seed": [1]}, "fixed": fixed}))
    (run,) = read_sweep_file(str(path)).runs()
    found = run.evaluation.generator
    assert list(found.command) == fixed["evaluation.generator.command"]
    assert found.version == fixed["evaluation.generator.version"]
