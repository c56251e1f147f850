"""Data sets to judge models by."""
