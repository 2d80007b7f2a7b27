"""What SLURM says of the jobs of one name: still queued, or how they ended."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

from tiebreak.errors import UserError

REMEDIES = {
    "TIMEOUT": "; give it more time: --launcher timeout_min=MINUTES",
    "OUT_OF_MEMORY": "; give it more memory: --launcher mem_gb=GB",
}


def check() -> None:
    """Refuse where jobs cannot be submitted, or their end would never be known."""
    for command in ("sbatch", "squeue", "sacct", "scancel"):
        if shutil.which(command) is None:
            raise UserError(
                f"--engine submitit_slurm: there is no {command} here; sweep from a login node of "
                "the cluster, or use --engine local"
            )
    done = subprocess.run(["sacct", "-X", "--noheader"], capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise UserError(
            f"--engine submitit_slurm: sacct fails ({why}); without SLURM's accounting (slurmdbd) "
            "nobody learns how a job ended; have it started, or use --engine local"
        )


def is_queued(name: str) -> bool:
    """Whether jobs of that name wait or run. A controller that does not answer: suppose so."""
    done = subprocess.run(
        ["squeue", "--noheader", "--array", f"--name={name}", "--format=%i"],
        capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode != 0 or bool(done.stdout.split())


def cancel_waiting(name: str) -> None:
    """Those that run save a checkpoint first; they are told in another way."""
    subprocess.run(["scancel", "--state=PENDING", f"--name={name}"], capture_output=True)


def states(name: str) -> dict[str, str]:
    """SLURM's id of each job that accounting knows -> how it ended."""
    done = subprocess.run(
        ["sacct", "-X", "--noheader", "--parsable2", f"--name={name}",
         "--starttime=now-30days", "--format=JobID,State"],
        capture_output=True, text=True,
    )  # fmt: skip
    rows = (line.split("|") for line in done.stdout.splitlines())
    return {job: state.split()[0] for job, state in rows}  # "CANCELLED by 0"


def words(found: Mapping[str, str], number: int, jobs: int) -> str:
    """How job `number` of `jobs` ended. One job alone is no array, so its id has no number."""
    ended = [s for job, s in found.items() if jobs == 1 or job.endswith(f"_{number}")]
    if not ended:
        return "its SLURM job was cancelled before it started"
    if ended[0] == "COMPLETED":
        return "its SLURM job is COMPLETED and gave no answer"
    return f"its SLURM job ended as {ended[0]}{REMEDIES.get(ended[0], '')}"
