"""Timings against peers and physical floors."""
