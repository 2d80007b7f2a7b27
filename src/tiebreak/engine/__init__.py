"""Rows, scoring, the reference store's contents, metrics and the one trainer."""
