"""Measurements: ours and another way, in turn, in one run; see docs/benchmarks.md."""
