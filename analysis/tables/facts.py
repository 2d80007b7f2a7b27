"""Where a run came from: code, versions and hashes, as its manifest tells; and who is stale."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tiebreak_analysis.records.runs import Record


@dataclass(frozen=True)
class Facts:
    """One run's provenance. None: its record does not say."""

    run_id: str
    group_id: str
    """The hash of its config without the seed."""
    seed: int
    commit: str | None
    dirty: bool | None
    """The checkout held changes that no commit has."""
    data: str | None
    tokens: str | None
    evaluator: str | None
    start_model: str | None
    model: str | None
    """sha256 over the weights, as of the start model."""
    versions: Mapping[str, str] = field(default_factory=dict)


def facts_of(record: Record) -> Facts:
    """From the record's manifest; what it does not tell stays None."""
    manifest = record.manifest
    git, hashes = manifest.get("git", {}), manifest.get("hashes", {})
    return Facts(
        run_id=record.run_id,
        group_id=record.group_id,
        seed=record.seed,
        commit=git.get("commit"),
        dirty=git.get("dirty"),
        data=record.data_hash,
        tokens=hashes.get("tokens"),
        evaluator=record.evaluation,
        start_model=record.start_model,
        model=hashes.get("model"),
        versions=manifest.get("versions", {}),
    )


def stale(facts: Sequence[Facts]) -> dict[str, str]:
    """Run id -> in what it differs from most runs of its section: commit, versions."""
    made_by: dict[str, dict[str, str | None]] = {}
    for one in facts:
        of_git = {} if one.commit is None else {"commit": one.commit}
        made_by[one.run_id] = {**of_git, **one.versions}
    usual: dict[str, str | None] = {}
    for name in sorted({name for made in made_by.values() for name in made}):
        counts = Counter(made.get(name) for made in made_by.values())
        usual[name] = counts.most_common(1)[0][0]  # equally often: that of the first row
    found: dict[str, list[str]] = defaultdict(list)
    for run_id, made in made_by.items():
        for name, most in usual.items():
            if made.get(name) != most:
                found[run_id].append(f"{name} {_short(made.get(name))} (most: {_short(most)})")
    return {run_id: ", ".join(told) for run_id, told in found.items()}


def _short(value: str | None) -> str:
    if value is None:
        return "not recorded"
    return value[:8] if len(value) == 40 else value
