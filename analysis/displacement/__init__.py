"""The displacement panel: is it normal that the chosen reward goes down? docs/displacement.md."""

from tiebreak_analysis.displacement.panels import Panel, compare, panel, tidy
from tiebreak_analysis.displacement.parts import PairSet, position_profile, split

__all__ = ["Panel", "PairSet", "compare", "panel", "position_profile", "split", "tidy"]
