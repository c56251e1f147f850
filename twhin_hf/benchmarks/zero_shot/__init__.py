"""Labelled data of the zero-shot tasks."""
