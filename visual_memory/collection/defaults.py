"""What is meant where nothing else is said."""

K, VOTER = 10, "softmax"
"""What was best on tuning rows of CIFAR-10."""

NEAR = 0.995
"""From this similarity on, two images are nearly the same."""
