"""Who will like which post: a model that is fitted, saved, updated and asked."""
