"""The encoder without a photograph in it, which is shipped."""
