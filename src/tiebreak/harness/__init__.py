"""Benchmarks through lm-eval: which tasks, on which data, asked of a model that is in memory."""
