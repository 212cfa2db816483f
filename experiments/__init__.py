"""Thin scripts that wire the library into experiments."""
