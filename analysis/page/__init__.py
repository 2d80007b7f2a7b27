"""A study as one HTML file that asks nothing of any network, and a loopback server for it."""

from analysis.page.server import serve
from analysis.page.write import write

__all__ = ["serve", "write"]
