"""A memory made of image files."""
