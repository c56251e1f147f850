"""What training reads: posts, splits, tokens, languages, translation pairs."""
