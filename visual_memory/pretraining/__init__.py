"""Pretraining of vision transformers on procedural or any other images."""
