"""From a run's artefacts to the last files of its record."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiebreak import provenance
from tiebreak import store as artefacts
from tiebreak.config.identity import DEMONSTRATIONS, data_content
from tiebreak.config.schema import Run
from tiebreak.stages import summary
from tiebreak.stages.align import Line
from tiebreak.stages.evaluate import evaluation_stages, evaluator_inputs
from tiebreak.stages.stage import Stage, everything
from tiebreak.store import Store
from tiebreak.track.record import Record
from tiebreak.track.record_format import GENERATIONS, ITEMS, PAIR_TOKENS, PAIRS, items_file


@dataclass(frozen=True)
class Made:
    """A run whose stages are all in the store. `reused`: what was there before this process."""

    run: Run
    line: Line
    store: Store
    reused: dict[tuple[str, str], bool]

    def path(self, stage: Stage) -> Path:
        key = stage.key(self.store)
        assert key is not None
        return self.store.path(stage.name, key)

    def start_model(self) -> str:
        """sha256 of the start model's weights; for a Hub model its id and commit."""
        if self.line.start.stage is None:
            return str(self.line.start.identity["checkpoint"])
        return artefacts.weights_hash(self.path(self.line.start.stage))

    def report(self) -> dict[str, Any]:
        return json.loads((self.path(self.line.tokens) / "report.json").read_text())

    def manifest(self) -> dict[str, Any]:
        """What the manifest learns during the run."""
        report = self.report()
        last = evaluation_stages(self.run, self.line)
        stages = dict.fromkeys(at for stage in last for at in everything(stage, self.store))
        return {
            "stages": [
                {"stage": stage, "key": key, "reused": self.reused.get((stage, key), True)}
                for stage, key in stages
            ],
            "hashes": {
                "data": data_hash(self.run),
                "start_model": self.start_model(),
                "model": artefacts.weights_hash(self.path(self.line.align)),
                "tokens": report["train"]["content"],
                "evaluator": artefacts.key("evaluator", evaluator_inputs(self.run)),
            },
            "dropped": {side: found["dropped"] for side, found in report.items()},
            "host": provenance.host(_devices()),
        }

    def write(self, record: Record) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Generations, pairs and items; returns the result and the generations."""
        start, policy = (
            summary.Evaluated.read(self.path(stage.parents["generations"]), self.path(stage))
            for stage in evaluation_stages(self.run, self.line)
        )
        generations = summary.generation_rows(start, policy)
        record.write_jsonl(GENERATIONS, generations)
        record.write_parquet(PAIRS, summary.pair_columns(start, policy))
        tokens = summary.pair_token_columns(start, policy)
        if tokens is not None:
            record.write_parquet(PAIR_TOKENS, tokens)
        items = summary.item_columns(start, policy)
        if items is not None:
            (record.folder / ITEMS).mkdir(exist_ok=True)
            record.write_parquet(items_file("gold"), items)
        temperature = self.run.evaluation.temperature
        metrics = summary.metrics(policy) | summary.against_start(start, policy, temperature)
        before = {"model": self.start_model(), "metrics": summary.metrics(start)}
        return {"metrics": metrics, "start": before}, generations


def data_hash(run: Run) -> str:
    """Which preference data: the same for every scenario, so without the demonstrations."""
    content = {k: v for k, v in data_content(run).items() if k not in DEMONSTRATIONS}
    return artefacts.key("data", content)


def token_lines(report: dict[str, Any]) -> list[str]:
    """What a user should know of the rows before training: dropped by reason, and warnings."""
    lines = []
    for side in report:
        if report[side]["dropped"]:
            reasons = ", ".join(f"{n} {reason}" for reason, n in report[side]["dropped"].items())
            lines.append(f"{side}: {report[side]['rows']} rows kept, dropped {reasons}")
        for finding in report[side]["findings"]:
            lines.append(f"{side}: {finding['code']}: {finding['message']}")
    return lines


def _devices() -> list[str]:
    """Names of the accelerators, if this process computed anything."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
