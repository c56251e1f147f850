"""Other people's checkpoints in, plain encoders out."""
