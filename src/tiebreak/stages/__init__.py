"""The stages of a run, one file each, and the graph they form. Planning imports no torch."""
