"""From images to unit embeddings."""
