"""What `benchmarks/run.py` measures, one contender a function, and what it makes of the figures."""
