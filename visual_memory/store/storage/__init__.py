"""The durable store's files: layout, journal, generations."""
