"""One file per protocol: a model and a benchmark in, results out."""
