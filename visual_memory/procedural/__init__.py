"""Images without photographs: random shader programs, leaves, mixing, GLSL."""
