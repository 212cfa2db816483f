"""Exact nearest neighbors, certified."""
