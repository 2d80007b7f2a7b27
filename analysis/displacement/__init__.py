"""The displacement panel: is it normal that the chosen reward goes down? docs/displacement.md."""

from tiebreak_analysis.displacement.frames import tidy
from tiebreak_analysis.displacement.measure import Panel, compare, panel
from tiebreak_analysis.displacement.parts import Part, split
from tiebreak_analysis.displacement.report import comparison_text, text
from tiebreak_analysis.displacement.tokens import after_difference, position_profile

__all__ = [
    "Panel", "Part", "after_difference", "compare", "comparison_text", "panel",
    "position_profile", "split", "text", "tidy",
]  # fmt: skip
