"""A whole run under torchrun: two processes train, one record, the numbers of one process."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests import forked
from tests.closeness import assert_rows_near
from tests.end_to_end.commands import MICRO, Answer, Command, environment, read_json, read_lines

METHOD = "method=kto"  # the method with a statistic over the whole batch


def torchrun(home: Path, *arguments: str) -> Answer:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "tiebreak.cli", *arguments,
    ]  # fmt: skip
    # gloo binds to the name of the machine unless told otherwise.
    loopback = environment(home, GLOO_SOCKET_IFNAME="lo")
    done = forked.run(command, env=loopback)
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(
    prepared: Path, home: Path, tiebreak: Command, tmp_path: Path
) -> None:
    one = tiebreak("run", *MICRO, METHOD)
    assert one.code == 0, one.err
    before = tmp_path / "one process"
    one.record.rename(before)
    for artefact in (home / "artefacts" / "align").iterdir():
        artefact.rename(tmp_path / artefact.name)

    two = torchrun(home, "run", *MICRO, METHOD)
    assert two.code == 0, two.err
    assert two.out.count("record: ") == 1, "one process speaks"
    assert two.record.name == one.record.name
    logs = [read_lines(record / "metrics.jsonl") for record in (before, two.record)]
    assert [row["step"] for row in logs[0]] == [row["step"] for row in logs[1]]
    skipped = {"reward/accuracy", "displaced/share",  # signs of differences that are 0 + rounding
               "positions/unique_token"}  # fmt: skip
    for ours, theirs in zip(*logs, strict=True):
        compared = ours.keys() - skipped
        assert_rows_near({n: theirs[n] for n in compared}, {n: ours[n] for n in compared})
    assert read_json(two.record / "status.json")["status"] == "finished"
    assert not list(home.glob("artefacts/*/.*.work"))


@pytest.mark.slow
def test_a_mistake_before_align_ends_both(home: Path) -> None:
    answer = torchrun(home, "run", *MICRO, "seed=9", "train.sft.learning_rate=1e30")
    assert answer.code != 0
    (said,) = re.findall(r"sft: the (?:loss|gradient) became nan at step 3\..*", answer.err)
    assert answer.err.count("tiebreak: ") == 1
    (status,) = (read_json(path) for path in home.glob("runs/*/status.json")
                 if read_json(path)["status"] != "finished")  # fmt: skip
    assert (status["status"], status["error"]) == ("failed", said)
