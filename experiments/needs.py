"""What an experiment cannot do without."""


def images(study) -> None:
  """Raises ValueError if a study comes from files that hold neighbors alone."""
  parts = (study.encoder, study.rows_source, study.queries_source)
  if any(part is None for part in parts):
    raise ValueError(
      "This experiment needs images and an encoder, which neighbor files do"
      " not hold: name them in config.memory, config.data and config.encoder."
    )
