"""A study as one HTML file that asks nothing of any network, and a loopback server for it."""

from tiebreak_analysis.page.page import table_document, write
from tiebreak_analysis.page.server import serve

__all__ = ["serve", "table_document", "write"]
