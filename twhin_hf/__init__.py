"""Socially enriched, multilingual language models of short posts."""

__version__ = "0.1.0.dev0"
