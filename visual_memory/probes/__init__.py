"""Linear classifiers on frozen embeddings, to compare a memory with."""
