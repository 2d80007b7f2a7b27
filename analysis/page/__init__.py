"""A study as one HTML file that asks nothing of any network, and a loopback server for it."""

from tiebreak_analysis.page.server import serve
from tiebreak_analysis.page.write import write

__all__ = ["serve", "write"]
