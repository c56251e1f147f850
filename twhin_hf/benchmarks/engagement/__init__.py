"""The engagement prediction benchmark: loading, making and publishing it."""
