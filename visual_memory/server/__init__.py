"""A memory in the browser: see, ask and edit it on this machine alone."""
