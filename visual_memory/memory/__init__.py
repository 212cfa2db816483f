"""Labelled embeddings that can be edited."""
