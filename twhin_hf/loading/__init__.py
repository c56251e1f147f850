"""Which class a checkpoint gets, and loading it, with or without an adapter."""
