"""Benchmarks of speed and memory, compared with baselines that are measured in the same run, in turns."""
