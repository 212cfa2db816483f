"""What a command is: a function, its examples, and the options that it takes.

  @command("compact", examples="  visual-memory compact")
  def compact(arguments):
    (its docstring)

What a command does, as --help says it, is its function's docstring.
"""

import argparse
import dataclasses
import inspect
import json
import math
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from visual_memory.collection.defaults import VOTER, K

AddOptions = Callable[[argparse.ArgumentParser], Any]
"""Given a `Parser`."""
_DEFAULT_STORE = "memory"
_WIDTH = 79


class Parser(argparse.ArgumentParser):
  """A parser that asks for what takes long to know only when it shows help.

  parser.later[action] = lambda: "one of: ..."
  """

  def __init__(self, *arguments: Any, **settings: Any):
    """As argparse's own."""
    super().__init__(*arguments, **settings)
    self.later: dict[argparse.Action, Callable[[], str]] = {}

  def format_help(self) -> str:
    """What --help prints."""
    for action, text in self.later.items():
      action.help = text()
    return super().format_help()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
  """A command of the command line.

  Attributes:
    name: of the command.
    run: what it does; returns the exit code (None is 0).
    examples: command lines.
    options: what adds its options, beside those that all commands have.
    store: whether it is about a memory, and so asks which.
  """

  name: str
  run: Callable[[argparse.Namespace], int | None]
  examples: str
  options: Sequence[AddOptions]
  store: bool

  def add_to(self, commands: Any) -> None:
    """Adds it to what `add_subparsers` gave."""
    text = " ".join(inspect.getdoc(self.run).split())
    parser = commands.add_parser(
      self.name,
      help=text.split(". ")[0].rstrip(".") + ".",
      description=textwrap.fill(text, _WIDTH),
      epilog=f"examples:\n{self.examples.rstrip()}",
      formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=self.run)
    for add in (*self.options, *([_which_store] if self.store else []), _json):
      add(parser)


def command(
  name: str, *options: AddOptions, examples: str, store: bool = True
) -> Callable[[Callable[[argparse.Namespace], int | None]], Command]:
  """Makes a function a command; see `Command`."""
  return lambda run: Command(
    name=name, run=run, examples=examples, options=options, store=store
  )


def option(*flags: str, **settings: Any) -> AddOptions:
  """One option or operand, as `add_argument` takes it."""
  return lambda parser: parser.add_argument(*flags, **settings)


def _which_store(parser: argparse.ArgumentParser) -> None:
  """The memory that a command is about."""
  parser.add_argument(
    "-s",
    "--store",
    metavar="DIR",
    default=os.environ.get("VISUAL_MEMORY_STORE", _DEFAULT_STORE),
    help="the memory: a directory or a bucket's URL (default: %(default)s)",
  )


_json = option("--json", action="store_true", help="print the result as JSON")
yes = option(
  "-y", "--yes", action="store_true", help="do not ask, even about most"
)
dry_run = option(
  "--dry-run", action="store_true", help="only say what would be done"
)


def careful(parser: argparse.ArgumentParser) -> None:
  """The options of what asks before it changes much, or changes nothing."""
  yes(parser)
  dry_run(parser)


neighbors = option(
  "-k",
  "--k",
  type=int,
  default=K,
  metavar="N",
  help="how many neighbors count (default: %(default)s)",
)


def vote(parser: Parser) -> None:
  """The options of a vote."""
  neighbors(parser)
  action = parser.add_argument(
    "--voter", type=_voter, default=VOTER, metavar="NAME"
  )
  parser.later[action] = lambda: (
    f"how much say each has: {_voters()}, with a number of its own if you like"
    " (softmax,temperature=0.1), or your MODULE:FUNCTION"
    f" (default: {VOTER})"
  )


def _voter(word: str) -> str:
  """A voter's name; a module of one's own may lie in the current directory."""
  from visual_memory.voting import weighting

  if ":" in word and os.getcwd() not in sys.path:
    sys.path.append(os.getcwd())
  try:
    weighting.named(word)
  except ValueError as error:
    raise argparse.ArgumentTypeError(str(error)) from error
  return word


def _voters() -> str:
  """The names of all that the library has."""
  from visual_memory.voting import weighting

  return ", ".join(weighting.VOTERS)


def page(parser: argparse.ArgumentParser) -> None:
  """The options of what writes a page and opens it."""
  parser.add_argument(
    "-o", "--output", metavar="FILE", help="the page (default: a new file)"
  )
  parser.add_argument(
    "--no-open", action="store_true", help="write the page, do not open it"
  )


key = option(
  "--key", metavar="FILE", help="sign the receipt with this Ed25519 key"
)


def class_name(word: str) -> str:
  """The name of a class that images are given."""
  if not word.strip() or any("\ud800" <= char <= "\udfff" for char in word):
    raise argparse.ArgumentTypeError(f"{word!r} is no name: give a word.")
  return word


def json_object(word: str) -> dict[str, Any]:
  """What is to be kept with every image."""
  try:
    value = json.loads(word)
  except ValueError:
    value = None
  if not isinstance(value, dict):
    raise argparse.ArgumentTypeError(
      f'{word!r} is no JSON object: write it as \'{{"license": "CC0"}}\'.'
    )
  return value


def similarity(word: str) -> float:
  """A number that similarities are compared to."""
  value = float(word)
  if math.isnan(value):
    raise argparse.ArgumentTypeError(f"{word!r} is no number.")
  return value


def fields(flag: str, words: Sequence[str]) -> dict[str, Any]:
  """What KEY=VALUE words say; values may be JSON.

  Raises:
    ValueError: a word that is not so; names the flag.
  """
  found = {}
  for word in words:
    name, equals, value = word.partition("=")
    if not equals:
      raise ValueError(f"{flag} {word}: write it as KEY=VALUE.")
    try:
      found[name] = json.loads(value)
    except ValueError:
      found[name] = value  # A word.
  return found
