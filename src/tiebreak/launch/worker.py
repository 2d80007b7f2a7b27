"""A child process that runs what its parent sends, one JSON line each, keeping torch imported.

It answers one JSON line per run on stdout. A user's mistake is an answer. Anything else (memory,
a defect, a library's refusal) ends it with its trace; the parent notices and starts another.
"""

from __future__ import annotations

import json
import sys

from tiebreak.config.compose import to_run
from tiebreak.config.schema import Run
from tiebreak.errors import UserError


def command(what: str) -> list[str]:
    """The command line of a worker; `what` is "prepare" or "run"."""
    return [sys.executable, "-m", "tiebreak.launch.worker", what]


def payload(run: Run) -> str:
    """A run as one line."""
    return json.dumps(run.resolved) + "\n"


def main() -> None:
    what, answers = sys.argv[1], sys.stdout
    sys.stdout = sys.stderr  # libraries that print must not disturb the answers
    for line in sys.stdin:
        answer = _do(what, to_run(json.loads(line)))
        print(json.dumps(answer), file=answers, flush=True)
        if what == "prepare" and "error" in answer:
            sys.exit(2)


def _do(what: str, run: Run) -> dict:
    from tiebreak.launch import ranks
    from tiebreak.launch.run import execute, quiet_libraries

    try:
        if what == "prepare":
            quiet_libraries()
            ranks.build_parents(run)
            return {}
        outcome = execute(run, lambda text: print(text, file=sys.stderr, flush=True))
        return {"artefacts": [[s, k, r] for (s, k), r in outcome.artefacts.items()]}
    except UserError as error:
        print(f"tiebreak: {error}", file=sys.stderr, flush=True)
        return {"error": str(error)}


if __name__ == "__main__":
    main()
