"""What a user gets wrong: exit code 2, one message with place and remedy, no traceback."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.commands import (
    BASE,
    MICRO,
    Answer,
    Command,
    call,
    evaluation_of,
    only_run,
    read_json,
)
from tests.end_to_end.rows import SMALL, checkpoint, pairs, unpaired, write
from tiebreak.engine import metrics
from tiebreak.track.record_format import FORMAT

Refused = Callable[..., str]


def message(answer: Answer) -> str:
    """The one message, after checking that it is one."""
    assert answer.code == 2, (answer.code, answer.out, answer.err)
    assert "Traceback" not in answer.out + answer.err
    said = [line for line in answer.err.splitlines() if line.startswith("tiebreak: ")]
    assert len(said) == 1, answer.err
    return said[0].removeprefix("tiebreak: ")


@pytest.fixture
def refused(
    prepared: Path, tmp_path: Path, tiebreak: Command, monkeypatch: pytest.MonkeyPatch
) -> Refused:
    """Run these rows on the checkpoint; the message. Both homes are fresh, relative paths work."""
    monkeypatch.setenv("TIEBREAK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    checkpoint(prepared, tmp_path / "model")

    def refuse(rows: list[Any], *overrides: str) -> str:
        write(tmp_path / "rows.jsonl", rows)
        chosen = {one.partition("=")[0] for one in overrides}
        given = ["model=./model", "data=rows.jsonl", "scenario=align-from-base"]
        given = [one for one in given if one.partition("=")[0] not in chosen]
        return message(tiebreak("run", *SMALL, *given, *overrides))

    return refuse


def failed_with(home: Path) -> str:
    status = read_json(only_run(home) / "status.json")
    assert status["status"] == "failed" and status["format"] == FORMAT
    return status["error"]


def test_a_line_that_is_not_json(refused: Refused, tmp_path: Path) -> None:
    said = refused([*pairs(4), '{"prompt": "cut off'])
    assert said.startswith("rows.jsonl:5: not JSON (")
    assert said.endswith("JSONL wants one object per line")
    assert failed_with(tmp_path / "home") == said


def test_a_missing_field(refused: Refused) -> None:
    rows = pairs(4)
    del rows[2]["rejected"]
    assert refused(rows) == (
        "rows.jsonl:3: no field 'rejected' (fields found: chosen, prompt); "
        "a row has prompt, chosen, rejected; other names can be given as "
        "data.columns={NAME: rejected}"
    )


def test_too_many_rows_that_cannot_be_trained_on(refused: Refused, tmp_path: Path) -> None:
    rows, held = pairs(44)[:40], pairs(44)[40:]
    write(tmp_path / "held.jsonl", held)
    rows[3]["chosen"] = " "
    rows[5]["rejected"] = rows[5]["chosen"]
    rows[7]["prompt"][0]["content"] = " ".join(["garden"] * 200)
    said = refused(rows, "data.test=held.jsonl")
    assert said.startswith("3 of 40 rows (7.5%) cannot be trained on: ")
    for reason in ("empty-response 1", "chosen-is-rejected 1", "prompt-too-long 1"):
        assert reason in said
    assert "rows.jsonl:4" in said and "raise data.max_dropped_share (now 0.01)" in said


def test_dropped_rows_are_allowed_and_counted(
    refused: Refused, tmp_path: Path, tiebreak: Command
) -> None:
    rows = pairs(40)
    rows[3]["chosen"] = " "
    write(tmp_path / "few.jsonl", rows)
    answer = tiebreak(
        "run", *SMALL, "model=./model", "data=few.jsonl", "scenario=align-from-base",
        "data.max_dropped_share=0.2",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    dropped = read_json(answer.record / "manifest.json")["dropped"]
    assert dropped["train"] | dropped["test"] == {"empty-response": 1}


def test_a_prompt_on_both_sides(refused: Refused, tmp_path: Path) -> None:
    rows = pairs(10)
    write(tmp_path / "held.jsonl", [*rows[8:], rows[2]])
    said = refused(rows[:8], "data.test=held.jsonl")
    assert said.startswith("1 of 8 training rows (12.5%) have a prompt of the test data, first ")
    assert "rows.jsonl:3 and held.jsonl:3; they would be left out of" in said


def test_a_conversation_without_a_template(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "model" / "chat_template.jinja").unlink()
    said = refused(pairs(8))
    assert "rows.jsonl:" in said and "the tokenizer has no chat template" in said
    assert "set model.chat_template" in said


def test_labelled_answers_and_a_method_for_pairs(refused: Refused, tmp_path: Path) -> None:
    assert refused(unpaired(24), "method=ipo") == (
        "method=ipo needs pairs and data=rows is unpaired (one labelled response per row); "
        "use method=kto or method=bco, or data with chosen and rejected"
    )
    # Said before anything is computed.
    assert {p.name for p in (tmp_path / "home" / "artefacts").iterdir()} == {"tokens"}


def test_a_target_that_the_model_lacks(refused: Refused) -> None:
    said = refused(pairs(24), "train.lora.targets=[c_attn]")
    assert said.startswith("train.lora.targets: llama has no linear layer 'c_attn'; it has down_")


def test_a_missing_file_is_said_before_torch_is_imported(refused: Refused) -> None:
    said = refused(pairs(4), "data=row.jsonl")
    assert said == (
        "row.jsonl: no such file (nearest: 'rows.jsonl'); give .jsonl, .json, .csv or .parquet, "
        "each also .gz or .zst, or a Hub id org/name"
    )


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("model=./nosuch", "checkpoint './nosuch': no such folder, and not a Hub id ORG/NAME"),
        ("model=no/such-model", "pin model.revision to a 40-digit commit, or connect once"),
    ],
)
def test_a_model_that_is_not_there(model: str, said: str, refused: Refused) -> None:
    assert said in refused(pairs(24), model)


def test_a_damaged_model_is_said_by_every_command(
    refused: Refused, tmp_path: Path, tiebreak: Command
) -> None:
    weights = tmp_path / "model" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    said = refused(pairs(24))
    assert said.startswith(f"{weights} is no safetensors file, or a part of one (")
    given = [*SMALL, "model=./model", "data=rows.jsonl", "scenario=align-from-base"]
    assert [message(tiebreak(command, *given)) for command in ("plan", "data")] == [said] * 2
    assert not (tmp_path / "home" / "runs").exists(), "before anything is computed"
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "vocab_size": 9999}))
    weights.write_bytes(whole)
    assert refused(pairs(24)).startswith(f"{weights}: model.embed_tokens.weight has the ")


@pytest.mark.parametrize("file", ["manifest.json", "status.json", "result.json"])
def test_a_record_of_another_version_is_left_alone(
    file: str, home: Path, tiebreak: Command
) -> None:
    record = only_run(home)
    path = (evaluation_of(record) if file == "result.json" else record) / file
    path.write_text(json.dumps(read_json(path) | {"format": 999}))
    if file != "result.json":  # else it is done, and nothing is opened for writing
        shutil.rmtree(record / "evaluations")
    before = {p: p.read_bytes() for p in record.rglob("*") if p.is_file()}
    said = message(tiebreak("run", *MICRO))
    assert f"{path.parent} is a record of format 999, which this version does not read" in said
    assert "move it away or set TIEBREAK_HOME" in said
    after = {p: p.read_bytes() for p in record.rglob("*") if p.is_file()}
    assert before == after
    assert "unreadable" in tiebreak("runs").out


def test_an_artefact_that_was_changed(home: Path, tiebreak: Command) -> None:
    (weights,) = home.glob("artefacts/pretrain/*/model.safetensors")
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1])
    said = message(tiebreak("run", *BASE))
    assert said == (f"{weights} is missing or was changed; delete {weights.parent} to rebuild it")


def test_a_home_that_is_a_file(tmp_path: Path, prepared: Path) -> None:
    (tmp_path / "home").write_text("")
    said = message(call(tmp_path / "home", "run", *MICRO))
    assert said.startswith(f"cannot write below {tmp_path / 'home'}") and "TIEBREAK_HOME" in said


def test_a_loss_that_is_lost(home: Path, tiebreak: Command) -> None:
    said = "became nan at step 3. Usual causes: train.learning_rate too high for this model"
    finished = only_run(home)
    answer = tiebreak("run", *MICRO, "train.learning_rate=1e30", "train.max_grad_norm=1e9")
    assert said in message(answer)
    (failed,) = set((home / "runs").iterdir()) - {finished}
    status = read_json(failed / "status.json")
    assert status["status"] == "failed" and (status["step"], status["steps"]) == (2, 6)
    assert said in status["error"]
    kept = home / "artefacts" / status["last_checkpoint"]
    assert kept.name == "checkpoint-2" and (kept / "complete.json").is_file()
    listed = tiebreak("runs").out
    assert f"{failed.name}  failed" in listed and "at step 2 of 6" in listed and said in listed
    assert len((failed / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_metric_that_is_no_number(
    home: Path, tiebreak: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before it is logged: no row of a training log is anything but finite numbers."""
    means = metrics.means
    monkeypatch.setattr(metrics, "means", lambda sums: {**means(sums), "reward/margin": math.inf})
    finished = only_run(home)
    said = message(tiebreak("run", *MICRO, "method=ipo"))
    assert said == "metrics.jsonl, step 1: reward/margin is inf; nothing was written"
    (failed,) = set((home / "runs").iterdir()) - {finished}
    assert read_json(failed / "status.json")["error"] == said
    logs = [failed / "metrics.jsonl", *home.glob("artefacts/align/.*.work/metrics.jsonl")]
    assert [log.read_text() for log in logs] == [""] * 2


def test_a_lost_sft_says_which_learning_rate(home: Path, tiebreak: Command) -> None:
    said = message(tiebreak("run", *MICRO, "train.sft.learning_rate=1e30"))
    lost = r"sft: the (loss|gradient) became nan at step 3\. Lower train\.sft\.learning_rate"
    assert re.fullmatch(lost, said), said
    assert list(home.glob("artefacts/sft/.*.work/checkpoints/checkpoint-2/complete.json"))
