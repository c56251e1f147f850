"""Translation pairs: read, cleaned and written from each of their sources."""
