"""Published figures that our tables print beside ours; README.md says where they come from."""

from tiebreak_analysis.published.read import PAPERS, REPLICATION_SPREAD, listed, published

__all__ = ["PAPERS", "REPLICATION_SPREAD", "listed", "published"]
