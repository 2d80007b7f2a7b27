"""What a study is: sweeps, the tables and figures they answer, effects, and the files of all that.

The same records give the same bytes; `analysis.studies.products` says what is not made again.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak_analysis.page import table_document
from tiebreak_analysis.published import FigureRow, Figures, listed
from tiebreak_analysis.records.runs import Record, Runs
from tiebreak_analysis.studies.effect import Effect, EffectTest, by_category, finished
from tiebreak_analysis.studies.products import Products, code_and_versions, key
from tiebreak_analysis.tables import data, text
from tiebreak_analysis.tables.comparison import comparison
from tiebreak_analysis.tables.rows import Planned
from tiebreak_analysis.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Sweeps = Mapping[str, Sequence[Planned]]
"""Name of a sweep -> the runs its file asks for."""
Done = Mapping[str, Sequence[Record]]
"""Name of a sweep -> its finished runs; every sweep of the study is there."""
EFFECTS, FIGURES, PAGE = "effects", "figures", "page"
"""Products beside the tables, which are called `table NAME`."""


@dataclass(frozen=True)
class TableSpec:
    """A table over the runs of some sweeps. metrics None: the usual columns."""

    name: str
    sweeps: tuple[str, ...]
    metrics: tuple[str, ...] | None = None
    published: Callable[[], Figures] | None = None


@dataclass(frozen=True)
class StudyResult:
    """A study's tables, figures and effects so far."""

    title: str
    tables: Mapping[str, Table]
    figures: Mapping[str, Figure]
    effects: tuple[Effect, ...]
    notes: tuple[str, ...]
    published: tuple[FigureRow, ...]


@dataclass(frozen=True)
class StudyReport:
    """A study. sweeps: in miniature, on the controlled world; real: the paper's own settings.

    effects and figures take all records, and the finished ones by sweep. papers: whose published
    figures the report lists. words: what `tiebreak study` is told, where that is not its name.
    """

    name: str
    title: str
    sweeps: tuple[str, ...]
    real: tuple[str, ...]
    tables: tuple[TableSpec, ...]
    effects: Callable[[Runs, Done], tuple[Effect, ...]]
    figures: Callable[[Runs, Done], Mapping[str, Figure]]
    papers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def build(
        self,
        runs: Runs,
        sweeps: Sweeps,
        command: str = "",
        footnotes: Mapping[str, str] | None = None,
        draw: bool = False,
    ) -> StudyResult:
        """The result over these sweeps, those of the miniature or the real ones.

        Sweeps without a finished run are named in the notes and make no table; their effects say
        what is missing. command: what made it, for the footers of its tables. footnotes:
        method -> its convention in a line. draw: figures too, which are most of the work.
        """
        everything = (*self.sweeps, *self.real)
        ids = {name: {one.run_id for one in sweeps.get(name, ())} for name in everything}
        done = {name: finished(runs, ids[name]) for name in everything}
        effects = self.effects(runs, done)
        figures = {**self.figures(runs, done), **dict(_categories(done))} if draw else {}
        return StudyResult(
            title=self.title,
            tables={
                spec.name: _table(spec, runs, sweeps, command or self.command, footnotes)
                for spec in self.tables
                if any(done[name] for name in spec.sweeps)
            },
            figures=figures,
            effects=effects,
            notes=(*self.notes, *_notes(sweeps, done, runs.damaged)),
            published=tuple(row for paper in self.papers for row in listed(paper)),
        )

    @property
    def command(self) -> str:
        return f"tiebreak study {shlex.join(self.words or (self.name,))}"

    def products(self, folder: Path, sweeps: Sweeps, runs_dir: Path, command: str = "") -> Products:
        """The products over these sweeps in `folder`, with the keys they would have now."""
        common = {"command": command or self.command, "made by": code_and_versions()}
        tables = {f"table {spec.name}": spec.sweeps for spec in self.tables}
        needs = {EFFECTS: tuple(sweeps), **tables, FIGURES: tuple(sweeps), PAGE: tuple(sweeps)}
        keys = {}
        for name, used in needs.items():
            planned = {sweep: [asdict(one) for one in sweeps.get(sweep, ())] for sweep in used}
            ids = [one["run_id"] for runs in planned.values() for one in runs]
            keys[name] = key({**common, "product": name, "planned": planned}, runs_dir, ids)
        return Products.of(folder, keys)


def of_sweep(name: str, words: Sequence[str] = ()) -> StudyReport:
    """A sweep as a study of its own: one table and the page, without effects. words: what the
    command that makes it says beside the sweep's name or file."""
    plain = Path(name).stem
    return StudyReport(
        plain, plain, (name,), (), (TableSpec(plain, (name,)),), lambda runs, done: (),
        lambda runs, done: {}, words=(name, *words),
    )  # fmt: skip


def _table(
    spec: TableSpec, runs: Runs, sweeps: Sweeps, command: str, footnotes: Mapping[str, str] | None
) -> Table:
    """Metrics that no finished run has yet make no column."""
    planned = {one.run_id: one for name in spec.sweeps for one in sweeps.get(name, ())}
    have = {name for record in finished(runs, planned) for name in record.metrics}
    metrics = None if spec.metrics is None else [name for name in spec.metrics if name in have]
    return comparison(
        runs,
        planned=list(planned.values()),
        metrics=metrics,
        published=None if spec.published is None else spec.published(),
        footnotes=footnotes,
        command=command,
    )


def _categories(done: Done) -> Iterator[tuple[str, Figure]]:
    """MT-Bench by category, of each scenario that was judged: as dots, and as the radar that papers
    print. Records that stand in several sweeps are drawn once."""
    from tiebreak_analysis.figures.categories import dots, radar

    records = {record.key: record for of_sweep in done.values() for record in of_sweep}.values()
    for evaluator, unit in (("mt_bench", "grade, 1 to 10"), ("mt_bench_pairwise", "win rate")):
        for scenario in sorted({record.scenario for record in records}):
            of = [record for record in records if record.scenario == scenario]
            scores = by_category(of, evaluator)
            if len(scores):
                name = f"{evaluator.replace('_', '-')}-{scenario}"
                yield name, dots(scores, unit=unit)
                whole = scores.groupby("method")["category"].nunique()
                if whole.min() == scores["category"].nunique() > 2:
                    yield f"{name}-radar", radar(scores)


def _notes(sweeps: Sweeps, done: Done, damaged: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """damaged: as `Runs` has it, once effects and figures have asked for the files."""
    for name in sweeps:
        if not done[name]:
            yield f"{name}: no run is finished yet; do them with: tiebreak sweep {name}"
    ids = {record.run_id for records in done.values() for record in records}
    for (run_id, file), why in sorted(damaged.items()):
        if run_id in ids:
            yield f"{run_id}: {file} is damaged and not counted: {why}"


def write_report(result: StudyResult, folder: Path) -> list[Path]:
    """Write everything below `folder`; the paths, in the order to read them.

    effects.md and .json, published.csv; for each table .md, .tex, .csv, .html and .json (where each
    cell comes from); for each figure .pdf and .png.
    """
    names = [EFFECTS, *(f"table {name}" for name in result.tables), FIGURES]
    return [path for paths in write_products(result, folder, names).values() for path in paths]


def write_products(
    result: StudyResult, folder: Path, names: Collection[str]
) -> dict[str, list[Path]]:
    """Write these products of a result below `folder`: product -> its files."""
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, list[Path]] = {}
    for name, texts in _texts(result):
        if name in names:
            written[name] = [folder / file for file in texts]
            for path, text in zip(written[name], texts.values(), strict=True):
                path.write_text(text, encoding="utf-8", newline="")
    if FIGURES in names:
        written[FIGURES] = list(_figures(result, folder))
    return written


def _texts(result: StudyResult) -> Iterator[tuple[str, dict[str, str]]]:
    effects = {"effects.md": effects_markdown(result), "effects.json": effects_json(result)}
    if result.published:
        effects["published.csv"] = published_csv(result)
    if result.effects or result.published or result.notes:
        yield EFFECTS, effects
    for name, table in result.tables.items():
        files = {
            "md": text.markdown, "tex": text.latex, "csv": data.csv, "html": table_document,
            "json": data.sidecar,
        }  # fmt: skip
        yield f"table {name}", {f"{name}.{end}": write(table) for end, write in files.items()}


def _figures(result: StudyResult, folder: Path) -> Iterator[Path]:
    if not result.figures:
        return
    from tiebreak_analysis.figures.style import save

    for name, figure in result.figures.items():
        for suffix in ("pdf", "png"):
            path = folder / f"{name}.{suffix}"
            save(figure, path)
            yield path


def effect_words(folder: Path) -> list[str]:
    """The sentences of the effects that were written to `folder`; none for a study without any."""
    if not (folder / "effects.json").is_file():
        return []
    content = json.loads((folder / "effects.json").read_text())
    return [effect["words"] for effect in content["effects"]]


def effects_markdown(result: StudyResult) -> str:
    """The effects in words, each with its tests and details as lists."""
    held, num_effects = sum(effect.holds for effect in result.effects), len(result.effects)
    count = f": effects that hold: {held} of {num_effects}" if num_effects else ""
    lines = [f"# {result.title}{count}", ""]
    for effect in result.effects:
        lines += [f"## {effect.name}: {effect.outcome}", "", f"{effect.claim}."]
        lines += [effect.remark] if effect.remark else []
        lines += ["", *(f"- {test.words}" for test in effect.tests)]
        if effect.details:
            lines += ["", "Beside it:", "", *(f"- {test.words}" for test in effect.details)]
        lines.append("")
    if num_effects:
        lines += [
            "Brackets: 95 % intervals, over seeds and, where items are named, over items too. An "
            "effect holds when each of its tests does; a test that no interval decides leaves it "
            "open.",
            "",
        ]
    lines += [f"- {note}" for note in result.notes]
    return "\n".join(lines).rstrip() + "\n"


def effects_json(result: StudyResult) -> str:
    found = {
        "title": result.title,
        "effects": [_effect(effect) for effect in result.effects],
        "notes": list(result.notes),
    }
    return json.dumps(found, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _effect(effect: Effect) -> dict[str, Any]:
    def told(tests: Sequence[EffectTest]) -> list[dict[str, Any]]:
        return [{**asdict(t), "outcome": str(t.outcome), "words": t.words} for t in tests]

    return {
        **{name: getattr(effect, name) for name in ("name", "claim", "holds", "words")},
        "outcome": str(effect.outcome),
        "tests": told(effect.tests),
        "details": told(effect.details),
    }


def published_csv(result: StudyResult) -> str:
    """The published figures of the study's papers, with their marks, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = "paper version table scenario model method metric value unit source marks spread"
    writer.writerow(names.split())
    for row in result.published:
        one = row.figure
        where = [row.paper, row.version, row.table, row.scenario, row.model, row.method, row.metric]
        writer.writerow([*where, one.value, one.unit, one.source, " ".join(one.marks), one.spread])
    return text.getvalue()
