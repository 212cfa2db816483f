"""From a source of images to an `EmbeddedSet`."""
