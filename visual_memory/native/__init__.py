"""What is compiled on the machine it runs on, if a compiler is there."""
