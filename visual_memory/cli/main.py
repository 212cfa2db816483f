"""The command itself: what it understands, and how it ends.

Exit codes: 0 done, 1 it could not be done (the reason is on standard error),
2 it was asked wrongly, 130 it was interrupted.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import visual_memory
from visual_memory.cli import (
  asking,
  building,
  commands,
  editing,
  examining,
  keeping,
  output,
  running,
  serving,
)
from visual_memory.store import errors
from visual_memory.store.errors import StoreError

_INTERRUPTED, _WRONG_USAGE = 130, 2
_DESCRIPTION = """\
An image classifier that you can edit: a memory of labelled images, which
answers with its nearest neighbors. Nothing is trained; to change what it
knows, add, remove or relabel images.

  visual-memory build photos/              photos/CLASS/NAME.jpg, or a .zip
  visual-memory classify new.jpg           which class is it?
  visual-memory explain new.jpg            which images decided that?
  visual-memory add more/                  more images, or new classes
  visual-memory remove dog/3.jpg           gone for good, with a receipt
  visual-memory relabel cat/7.jpg --to dog
  visual-memory serve                      all of this in your browser

The memory is the directory ./memory unless --store (or the environment
variable VISUAL_MEMORY_STORE) says otherwise. `visual-memory COMMAND --help`
has the details and more examples."""


_COMMANDS = (
  building.build, building.add, building.rebuild, building.relocate,
  asking.classify, asking.explain, asking.similar,
  examining.accuracy, examining.suspects, examining.outliers,
  examining.duplicates, editing.remove, editing.relabel, editing.prune,
  examining.whiten, editing.pending, editing.undo, editing.apply,
  keeping.info, keeping.verify, keeping.compact, keeping.export,
  keeping.import_rows, serving.serve, running.run, running.show,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one command; its exit code.

  Args:
    argv: the words after the command's name; those of the process by default.
  """
  try:
    arguments = _parser().parse_args(argv)
  except _Usage as error:
    if "--json" in (sys.argv[1:] if argv is None else argv):
      print(json.dumps({"error": str(error)}), flush=True)
    error.parser.print_usage(sys.stderr)
    output.say(f"{error.parser.prog}: {error}")
    raise SystemExit(_WRONG_USAGE) from None
  try:
    return arguments.run(arguments) or 0
  except KeyboardInterrupt:
    output.say("Interrupted. The memory is whole; the same command goes on.")
    return _INTERRUPTED
  except BrokenPipeError:  # `visual-memory ... | head` has seen enough.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
  except (StoreError, ValueError, KeyError, OSError, ImportError) as error:
    if os.environ.get("VISUAL_MEMORY_DEBUG"):
      raise
    if arguments.json and not getattr(arguments, "told", False):
      print(json.dumps({"error": errors.sentence(error)}), flush=True)
    output.say(f"visual-memory: {errors.sentence(error)}")
    return 1


class _Usage(Exception):
  """The command was asked wrongly."""

  def __init__(self, parser: argparse.ArgumentParser, message: str):
    super().__init__(message)
    self.parser = parser


class _Parser(commands.Parser):
  """A parser that leaves it to `main` how an error is said."""

  def error(self, message: str) -> NoReturn:
    """Raises what `main` says."""
    raise _Usage(self, message)


def _parser() -> argparse.ArgumentParser:
  """All commands."""
  parser = _Parser(
    prog="visual-memory",
    description=_DESCRIPTION,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    "--version",
    action="version",
    version=f"visual-memory {visual_memory.__version__}",
  )
  listed = parser.add_subparsers(
    title="commands", metavar="COMMAND", required=True
  )
  for command in _COMMANDS:
    command.add_to(listed)
  return parser
