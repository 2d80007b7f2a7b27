"""A sweep killed again and again ends in the same table, and trains nothing twice.

    python benchmarks/kill_sweep.py --kills 100

Twelve small runs (two scenarios, three methods, two seeds) with two workers, once undisturbed and
once with SIGKILL to the whole process group at random moments, the same command being given again
until it is through. Then: the tables of both homes are the same bytes, so is every artefact's list
of contents; and whatever was published or finished at a kill is, file by file, still the same
inode with the same time of change at the end, so nobody wrote it again.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tiebreak.store import ARTEFACT  # noqa: E402
from tiebreak.track.record_format import finished_evaluations  # noqa: E402

AXES = {
    "scenario": ["align-from-base", "sft-then-align"],
    "method": ["dpo", "ipo", "kto"],
    "seed": [1, 2],
}
FIXED = (
    "tracker=none model.pretraining.documents=300 model.pretraining.hidden_size=32 "
    "model.pretraining.intermediate_size=64 model.pretraining.layers=2 "
    "model.pretraining.batch_size=32 data.num_pairs=96 data.num_test_pairs=16 "
    "data.num_demonstrations=96 evaluation.num_prompts=16 evaluation.max_new_tokens=24 "
    "train.learning_rate=5e-4 train.batch_size=16 train.epochs=1 train.sft.learning_rate=5e-4 "
    "train.sft.batch_size=16 train.sft.epochs=1 train.execution.checkpoint_every=2"
).split()
STARTING = 0.25  # share of the kills that come before the workers have begun
FORMATS = ("csv", "md")
Stamp = tuple[int, int, int]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Sweep:
    """One sweep file and the home its runs go to."""

    path: Path
    home: Path
    workers: int = 2

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command in a process group of its own; its workers hold the pipe as long as it."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "PYTEST"))}
        env |= {"TIEBREAK_HOME": str(self.home), "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", "tiebreak.cli", *arguments], env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def command(self) -> list[str]:
        return ["sweep", str(self.path), "--workers", str(self.workers)]

    @contextlib.contextmanager
    def sweep(self) -> Generator[subprocess.Popen[str]]:
        """The sweep, which does not outlive this block."""
        process = self.start(*self.command())
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    def answer(self, *arguments: str) -> str:
        """What a command prints; SystemExit when it fails."""
        process = self.start(*arguments)
        said, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}:\n{said}")
        return said

    def tables(self) -> list[str]:
        return [self.answer("table", str(self.path), "--format", f) for f in FORMATS]

    def began(self) -> int:
        """When a worker last said where its run is: it changes while runs are done."""
        return max((os.stat(path).st_mtime_ns for path in self._glob("runs/*/status.json")),
                   default=0)  # fmt: skip

    def published(self) -> list[Path]:
        return [Path(path) for path in self._glob("artefacts/*/[0-9a-f]*")]

    def finished(self) -> list[Path]:
        return [Path(path) for path in self._glob("runs/*") if finished_evaluations(Path(path))]

    def settled(self) -> dict[str, Stamp]:
        """Every file that must never be written again: (inode, time of change in ns, size)."""
        return dict(stamps([*self.published(), *self.finished()]))

    def contents(self) -> dict[str, bytes]:
        """Stage and key of each artefact -> its list of inputs and of files with their sha256."""
        return {"/".join(path.parts[-2:]): (path / ARTEFACT).read_bytes()
                for path in self.published()}  # fmt: skip

    def unsaved_steps(self) -> int:
        """Steps that policies in training have logged since their last checkpoint."""
        lost = 0
        for work in self._glob("artefacts/align/.*.work"):
            log = Path(work, "metrics.jsonl")
            steps = log.read_bytes().count(b"\n") if log.is_file() else 0
            saved = glob.glob(f"{work}/checkpoints/checkpoint-*/complete.json")
            at = max((int(Path(path).parent.name.split("-")[1]) for path in saved), default=0)
            sealed = Path(work, ARTEFACT).is_file()
            lost += 0 if sealed else max(0, steps - at)
        return lost

    def _glob(self, pattern: str) -> list[str]:
        return glob.glob(f"{glob.escape(str(self.home))}/{pattern}")


def stamps(folders: Sequence[Path]) -> Iterator[tuple[str, Stamp]]:
    for folder in folders:
        for file in folder.rglob("*"):
            if file.is_file() and file.name != ".lock":
                about = file.stat()
                yield str(file), (about.st_ino, about.st_mtime_ns, about.st_size)


@dataclass
class Found:
    """What was seen. at: seconds from the start to each kill; working: how many kills came while
    runs were done; most_unsaved: steps a kill cost; wrong: what must not be."""

    undisturbed_s: float
    starting_s: float
    at: list[float] = field(default_factory=list)
    working: int = 0
    most_unsaved: int = 0
    last_s: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        early = len(self.at) - self.working
        yield f"undisturbed: {self.undisturbed_s:.0f} s, {self.starting_s:.1f} s of it to begin"
        yield f"kills: {len(self.at)}; {early} before a worker began, {self.working} at work"
        yield f"time: {sum(self.at):.0f} s until the last kill, {self.last_s:.0f} s after it"
        yield f"steps of alignment that one kill cost: {self.most_unsaved} at most"
        yield from (f"WRONG: {line}" for line in self.wrong)
        yield "result: " + ("NOT the same" if self.wrong else "the same; nothing was made twice")


def undisturbed(one: Sweep) -> Found:
    """The sweep from start to end, with the time until its first worker begins."""
    start = time.monotonic()
    with one.sweep() as process:
        begin = wait_for_work(one, process, one.began())
        said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the undisturbed sweep ended with {process.returncode}:\n{said}")
    return Found(time.monotonic() - start, begin)


def wait_for_work(one: Sweep, process: subprocess.Popen[str], before: int) -> float:
    """Until a worker is at a run (or all is over); the seconds it took."""
    start = time.monotonic()
    while process.poll() is None and one.began() == before:
        time.sleep(0.01)
    return time.monotonic() - start


def kill_at_random(one: Sweep, found: Found, draw: random.Random, kills: int, say: Say) -> None:
    """Kill up to so many times, then let it finish.

    The seconds are drawn so that the kills come all along the sweep: the more of them, the sooner
    each. What takes longer than `span` and has no checkpoint would never be through, so a kill
    before which nothing was completed widens it.
    """
    first = span = max(0.5, 1.8 * (found.undisturbed_s - found.starting_s) / kills)
    settled: dict[str, Stamp] = {}
    for number in range(1, kills + 1):
        start, before = time.monotonic(), one.began()
        early, share = draw.random() < STARTING, draw.random()
        with one.sweep() as process, contextlib.suppress(subprocess.TimeoutExpired):
            if not early:
                wait_for_work(one, process, before)
            process.wait(share * (found.starting_s if early else span))
        output, _ = process.communicate()  # until the last worker's end of the pipe is closed
        if process.returncode != -signal.SIGKILL:
            if process.returncode:
                found.wrong.append(f"the sweep ended with {process.returncode}:\n{output}")
            break  # it is through
        found.at.append(time.monotonic() - start)
        found.working += one.began() > before
        found.most_unsaved = max(found.most_unsaved, one.unsaved_steps())
        now = one.settled()
        found.wrong += changed(settled, now)
        if one.began() > before:
            span = first if len(now) > len(settled) else 1.3 * span
        settled = now
        runs, made = len(one.finished()), len(one.published())
        say(f"kill {number} after {found.at[-1]:.1f} s: {runs} runs done, {made} artefacts made")
    start = time.monotonic()
    one.answer(*one.command())
    found.last_s = time.monotonic() - start
    found.wrong += changed(settled, one.settled())


def changed(before: dict[str, Stamp], now: dict[str, Stamp]) -> list[str]:
    """Settled files that are gone or were written again."""
    return [f"{path} was {'written again' if path in now else 'removed'} after it was complete"
            for path, stamp in before.items() if now.get(path) != stamp]  # fmt: skip


def compare(left: Sweep, right: Sweep) -> Iterator[str]:
    """What differs between two homes."""
    for form, ours, theirs in zip(FORMATS, left.tables(), right.tables(), strict=True):
        if ours != theirs:
            yield f"the {form} tables differ:\n{ours}\n{theirs}"
    made, again = left.contents(), right.contents()
    for name in sorted(made.keys() | again.keys()):
        if made.get(name) != again.get(name):
            yield f"artefact {name} is not the same in both homes"
    for work in right._glob("artefacts/*/.*.work"):
        yield f"{work} was left behind"


def prove(
    kills: int, seed: int, folder: Path, axes: dict[str, Any], say: Say, workers: int = 2,
    given: Path | None = None,
) -> Found:  # fmt: skip
    """Both sweeps below `folder`. given: artefacts that both homes have from the start."""
    fixed = {key: value for key, _, value in (word.partition("=") for word in FIXED)}
    path = folder / "killed-again.yaml"
    path.write_text(yaml.safe_dump({"axes": axes, "fixed": fixed}))
    homes = [Sweep(path, folder / name, workers) for name in ("undisturbed", "killed")]
    for one in homes:
        one.home.mkdir()
        if given is not None:
            shutil.copytree(given, one.home / "artefacts" / given.name)
    found = undisturbed(homes[0])
    kill_at_random(homes[1], found, random.Random(seed), kills, say)
    found.wrong += compare(*homes)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="at most so many")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    args = parser.parse_args(argv)
    if args.kills < 1:
        parser.error(f"--kills {args.kills}: give 1 or more")

    def say(line: str) -> None:
        print(line, flush=True)

    with tempfile.TemporaryDirectory() as name:
        found = prove(args.kills, args.seed, Path(name), AXES, say)
    print("\n".join(found.lines()))
    return 1 if found.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
