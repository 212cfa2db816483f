"""Neighbors judged again by their patches or by a model, and voted anew."""
