"""What is fast, against what. Run by hand from a checkout: ``python -m benchmarks.speed``."""
