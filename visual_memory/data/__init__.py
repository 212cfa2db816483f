"""Images: sources, preprocessing and batches."""
