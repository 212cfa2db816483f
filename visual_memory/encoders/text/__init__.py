"""Texts to unit embeddings, and class names to a classifier."""
