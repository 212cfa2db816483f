"""What neighbors and votes tell: one question per file."""
