"""Run one, plan many, report."""
