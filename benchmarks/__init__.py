"""Timings against baselines run beside them: `python -m benchmarks`."""
