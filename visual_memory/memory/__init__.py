"""Labelled embeddings on the devices, that can be edited."""
