"""Which encoder a command means."""

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from visual_memory.cli import commands

if TYPE_CHECKING:
  import visual_memory.encoders.encoder

DEFAULT = "procedural_vit"
"""The encoder of a new memory: of those that come with the package, in whose
weights no photograph is, the best on photographs (docs/findings.md)."""


def default(parser: argparse.ArgumentParser) -> None:
  """The options that say which encoder; one comes with the package."""
  _add(parser, " (default: %(default)s)", default=DEFAULT)


def required(parser: argparse.ArgumentParser) -> None:
  """The options that say which encoder, where one must be named."""
  _add(parser, "", required=True)


def _add(parser: commands.Parser, note: str, **options: Any) -> None:
  action = parser.add_argument("-e", "--encoder", metavar="NAME", **options)
  parser.later[action] = lambda: f"one of: {', '.join(_names())}{note}"
  parser.add_argument(
    "--weights",
    metavar="PATH",
    help="its published checkpoint, a file or a directory; else it is"
    " downloaded once",
  )
  parser.add_argument(
    "--precision",
    default="float32",
    choices=("float32", "bfloat16"),
    help="of its arithmetic (default: %(default)s)",
  )
  parser.add_argument(
    "--image-size", type=int, metavar="PIXELS", help="if not its usual one"
  )
  parser.add_argument(
    "--option",
    action="append",
    default=[],
    metavar="KEY=VALUE",
    help="an option of this encoder alone, such as size=64; may be repeated",
  )


def _names() -> Sequence[str]:
  """The encoders' names."""
  from visual_memory.encoders.encoder import list_encoders

  return list_encoders()


def load(
  arguments: argparse.Namespace,
) -> tuple["visual_memory.encoders.encoder.Encoder", dict[str, Any]]:
  """The encoder, and the arguments of `load_encoder` that give it again.

  Raises:
    ValueError: unknown names, or an option that is not KEY=VALUE.
  """
  from visual_memory.encoders.encoder import load_encoder

  values: dict[str, Any] = {
    "name": arguments.encoder,
    "precision": arguments.precision,
  }
  if arguments.weights is not None:
    values["weights"] = os.path.abspath(arguments.weights)
  if arguments.image_size is not None:
    values["image_size"] = arguments.image_size
  values |= commands.fields("--option", arguments.option)
  return load_encoder(**values), values
