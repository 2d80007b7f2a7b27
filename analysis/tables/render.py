"""A table as text: Markdown, LaTeX, CSV, HTML, and the JSON behind it. Same table, same bytes."""

from tiebreak_analysis.tables.html import fragment, html
from tiebreak_analysis.tables.latex import latex
from tiebreak_analysis.tables.markdown import markdown
from tiebreak_analysis.tables.sidecar import sidecar
from tiebreak_analysis.tables.tidy import csv

__all__ = ["csv", "fragment", "html", "latex", "markdown", "sidecar"]
