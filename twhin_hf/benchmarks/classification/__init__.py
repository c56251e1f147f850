"""Benchmarks of text classification that others published."""
