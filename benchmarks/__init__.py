"""How fast the metrics are, and compared with what: run `python -m benchmarks`."""
