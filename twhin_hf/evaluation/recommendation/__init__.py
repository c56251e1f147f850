"""Recommenders judged as recommenders are: new posts, known posts, new users, among all."""
