"""Stores of vectors that others run: Parquet, Lance, Qdrant, PostgreSQL with pgvector."""
