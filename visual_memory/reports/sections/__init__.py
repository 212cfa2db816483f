"""What analyses find, as sections of pages and as plain values."""
