"""The studies: for each its sweeps, tables, figures and effects. docs/studies.md says which."""

from tiebreak_analysis.studies import arizona, demo, dpop, simpo, tdpo
from tiebreak_analysis.studies.effect import Effect, Estimate, Outcome, Part
from tiebreak_analysis.studies.study import Report, StudyReport, TableSpec
from tiebreak_analysis.studies.write import write_report

STUDIES: dict[str, StudyReport] = {
    study.name: study
    for study in (
        demo.STUDY,
        arizona.STUDY,
        arizona.SEEDS,
        simpo.STUDY,
        dpop.STUDY,
        tdpo.STUDY,
    )  # fmt: skip
}

__all__ = [
    "STUDIES", "Effect", "Estimate", "Outcome", "Part", "Report", "StudyReport", "TableSpec",
    "write_report",
]  # fmt: skip
