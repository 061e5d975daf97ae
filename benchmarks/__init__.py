"""How fast the library is, beside its peers: run `python -m benchmarks`."""
