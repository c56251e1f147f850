"""Hours, memory and disk of a whole run, from measured rates."""
