"""A finished run measured again with answers of another program, which fails first."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.end_to_end.commands import MICRO, Command, read_json, read_lines

SCRIPT = """
import json, sys
if "--version" in sys.argv:
    sys.exit(print("mine 1"))
requests, answers = sys.argv[1:3]
with open(answers, "a") as out:
    for number, line in enumerate(open(requests)):
        asked = json.loads(line)
        if number == 5 and FAILS:
            sys.exit("no memory left")
        row = {"id": asked["id"], "token_ids": [5 + asked["seed"] % 9, asked["end_token_ids"][0]]}
        print(json.dumps(row), file=out)
"""


def test_a_run_whose_program_fails_says_so_and_goes_on(
    home: Path, tiebreak: Command, tmp_path: Path
) -> None:
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT.replace("FAILS", "True"))
    places = (sys.executable, script, "{requests}", "{answers}", "{model}")
    command = ",".join(f'"{word}"' for word in places)
    words = [*MICRO, f"evaluation.generator.command=[{command}]",
             "evaluation.generator.version=mine 1"]  # fmt: skip
    failed = tiebreak("run", *words)
    assert failed.code == 2 and "Traceback" not in failed.err
    (said,) = (line for line in failed.err.splitlines() if line.startswith("tiebreak: "))
    assert "it ended with code 1; its last words: 'no memory left'" in said
    assert "log.txt:1); 5 of 16 answers are kept, and the same command asks for the others" in said
    (record,) = (home / "runs").iterdir()
    assert read_json(record / "status.json")["status"] == "failed"
    script.write_text(SCRIPT.replace("FAILS", "False"))
    done = tiebreak("run", *words)
    assert done.code == 0, done.err
    assert "stages: 4 built" in done.out, "generations and gold, of both models"
    answers = [row for folder in home.glob("artefacts/generations/[!.]*")
               for row in read_lines(folder / "items.jsonl") if row["tokens"] == 2]  # fmt: skip
    assert len(answers) == 2 * 16 and not list(home.glob("artefacts/generations/*/kept"))
    (result,) = (file for file in record.glob("evaluations/*/result.json")
                 if json.loads(file.read_text())["metrics"]["length/generated"] == 2)  # fmt: skip
    assert read_json(result)["settings"]["generator"]["version"] == "mine 1"
    assert "this run is done" in tiebreak("run", *words).out
