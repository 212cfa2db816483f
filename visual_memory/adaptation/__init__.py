"""Classifiers on frozen embeddings and a memory: what a little data adds."""
