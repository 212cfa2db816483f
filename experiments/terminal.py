"""How a script ends up on a terminal: plain lines, and errors as sentences.

  if __name__ == "__main__":
    terminal.run(main)

What a user can mend (a wrong value, a missing file, an absent package) is one
sentence and exit code 1; `--debug` shows where it came from. Lines have no
prefixes, and other libraries are heard from warnings on.
"""

import logging as python_logging
import sys
from collections.abc import Callable

from absl import app, flags, logging

from visual_memory.store.errors import sentence

DEBUG = flags.DEFINE_bool("debug", False, "Show where an error came from.")
_MENDABLE = (ValueError, KeyError, TypeError, OSError, ImportError)
_CHATTY = ("jax", "orbax", "absl.orbax", "tensorstore", "etils")


def run(main: Callable[[list[str]], None]) -> None:
  """Runs a script's main with the flags that it declared."""
  app.run(lambda argv: _in_words(main, argv))


def quiet() -> None:
  """Plain lines of our own, and nothing of others below a warning."""
  plain = python_logging.Formatter("%(message)s")
  logging.get_absl_handler().setFormatter(plain)
  for name in _CHATTY:
    python_logging.getLogger(name).setLevel(python_logging.WARNING)


def _in_words(main: Callable[[list[str]], None], argv: list[str]) -> None:
  """main(argv), with a sentence for what the user can mend."""
  quiet()
  try:
    main(argv)
  except _MENDABLE as error:
    if DEBUG.value:
      raise
    sys.exit(f"{sentence(error)}\n(--debug shows where.)")
