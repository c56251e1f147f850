"""Takes people and posts out of logs, networks, pairs, vectors and benchmarks."""
