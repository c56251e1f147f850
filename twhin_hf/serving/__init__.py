"""Vectors of many posts, search and export."""
