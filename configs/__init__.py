"""One config per experiment; each has a `smoke` form."""
