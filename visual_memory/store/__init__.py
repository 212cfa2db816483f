"""Labelled embeddings on disk: durable, and removable for real."""
