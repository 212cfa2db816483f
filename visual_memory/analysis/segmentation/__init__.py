"""Segmentation by patches, without training and by a memory."""
