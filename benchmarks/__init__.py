"""Measured claims about speed, each a command: ``python -m benchmarks.similarity``."""
