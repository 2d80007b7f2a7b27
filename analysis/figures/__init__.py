"""Figures for papers: one file per kind, each a function from a tidy frame to a `Figure`.

Imports nothing by itself, so that the page can share `palette` without matplotlib. docs/figures.md
shows each kind.
"""
