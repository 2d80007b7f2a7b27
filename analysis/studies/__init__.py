"""The studies: for each its sweeps, tables, figures and effects. docs/studies.md says which."""

from tiebreak_analysis.studies import arizona, dpop, simpo, tdpo
from tiebreak_analysis.studies.study import (
    StudyReport,
    StudyResult,
    TableSpec,
    of_sweep,
    write_report,
)

STUDIES: dict[str, StudyReport] = {
    study.name: study
    for study in (arizona.DEMO, arizona.STUDY, arizona.SEEDS, simpo.STUDY, dpop.STUDY, tdpo.STUDY)
}

__all__ = ["STUDIES", "StudyReport", "StudyResult", "TableSpec", "of_sweep", "write_report"]
