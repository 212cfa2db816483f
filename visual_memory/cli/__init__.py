"""The `visual-memory` command, for people with a folder of images."""
