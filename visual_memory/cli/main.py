"""The command itself: what it understands, and how it ends.

Exit codes: 0 done, 1 it could not be done (the reason is on standard error),
2 it was asked wrongly, 130 it was interrupted.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

import visual_memory
from visual_memory.cli import (
  asking,
  building,
  editing,
  examining,
  keeping,
  output,
  serving,
  waiting,
)
from visual_memory.store import errors
from visual_memory.store.errors import StoreError

_INTERRUPTED = 130
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


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one command; its exit code.

  Args:
    argv: the words after the command's name; those of the process by default.
  """
  arguments = _parser().parse_args(argv)
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


def _parser() -> argparse.ArgumentParser:
  """All commands."""
  parser = argparse.ArgumentParser(
    prog="visual-memory",
    description=_DESCRIPTION,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    "--version",
    action="version",
    version=f"visual-memory {visual_memory.__version__}",
  )
  commands = parser.add_subparsers(
    title="commands", metavar="COMMAND", required=True
  )
  groups = (building, asking, examining, editing, waiting, keeping, serving)
  for group in groups:
    group.add_commands(commands)
  return parser
