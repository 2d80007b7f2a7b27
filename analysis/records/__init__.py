"""Reading records: own folders, W&B's logs, W&B's servers; docs/records.md lists the files."""

from tiebreak_analysis.records.runs import Record, Runs, listing, load, source_from

__all__ = ["Record", "Runs", "listing", "load", "source_from"]
