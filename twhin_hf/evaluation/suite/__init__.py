"""All tasks of a paper for several models, beside the papers' figures."""
