"""Packing, batches, trainers, LoRA and losses for sentence-transformers."""
