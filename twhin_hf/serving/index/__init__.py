"""Saved FAISS indexes of vectors, which grow and shrink."""
