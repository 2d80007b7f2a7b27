"""A table as text: Markdown, LaTeX, CSV, HTML, and the JSON behind it. Same table, same bytes."""

from analysis.tables.html import fragment, html
from analysis.tables.latex import latex
from analysis.tables.markdown import markdown
from analysis.tables.sidecar import sidecar
from analysis.tables.tidy import csv

__all__ = ["csv", "fragment", "html", "latex", "markdown", "sidecar"]
