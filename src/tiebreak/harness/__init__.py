"""Benchmarks through lm-eval: its stock tasks, and a mirror of their data."""
