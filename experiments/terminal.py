"""How a script meets its user: flags, plain lines, errors as sentences.

  def main(config, path): ...

  if __name__ == "__main__":
    terminal.run(main)

What a user can mend (a wrong value, a missing file, an absent package) is one
sentence and exit code 1; `--debug` shows where it came from. Lines have no
prefixes, and other libraries are heard from warnings on.
"""

import logging as python_logging
import pathlib
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from visual_memory.store.errors import sentence

CONFIG = config_flags.DEFINE_config_file("config", None, "What to run.")
WORKDIR = flags.DEFINE_string("workdir", None, "Where results go.")
DEBUG = flags.DEFINE_bool("debug", False, "Show where an error came from.")
_MENDABLE = (ValueError, KeyError, TypeError, OSError, ImportError)
_CHATTY = ("jax", "orbax", "absl.orbax", "tensorstore", "etils")


def run(
  main: Callable, *, required: Sequence[str] = ("config", "workdir")
) -> None:
  """Runs a script.

  Args:
    main: of a config, locked, and the path of a workdir; either is None where
      its flag is not given.
    required: the flags without which it cannot run.
  """
  flags.mark_flags_as_required(list(required))
  app.run(lambda argv: _in_words(main, argv))


def _in_words(main: Callable, argv: list[str]) -> None:
  """main, with a sentence for what the user can mend."""
  if len(argv) > 1:
    raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}.")
  plain = python_logging.Formatter("%(message)s")
  logging.get_absl_handler().setFormatter(plain)
  for name in _CHATTY:
    python_logging.getLogger(name).setLevel(python_logging.WARNING)
  config = CONFIG.value and CONFIG.value.lock()
  path = WORKDIR.value and pathlib.Path(WORKDIR.value)
  try:
    main(config, path)
  except _MENDABLE as error:
    if DEBUG.value:
      raise
    sys.exit(f"{sentence(error)}\n(--debug shows where.)")
