"""Composition, types, checks and identity of a run. Imports no torch."""
