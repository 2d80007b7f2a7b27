"""The displacement panel: is it normal that the chosen reward goes down? docs/displacement.md."""

from analysis.displacement.frames import tidy
from analysis.displacement.measure import Panel, compare, panel
from analysis.displacement.parts import Part, split
from analysis.displacement.report import comparison_text, text
from analysis.displacement.tokens import after_difference, position_profile

__all__ = [
    "Panel", "Part", "after_difference", "compare", "comparison_text", "panel",
    "position_profile", "split", "text", "tidy",
]  # fmt: skip
