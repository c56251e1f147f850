"""Checks, cards and pushes."""
