"""From neighbors to predictions."""
