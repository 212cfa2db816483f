"""Making a memory, and making it larger: build, add, rebuild, relocate."""

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from visual_memory.cli import commands, images, output
from visual_memory.cli.commands import command, option
from visual_memory.collection import origins, provenance
from visual_memory.store.store import Store

_BUILD = """\
  visual-memory build photos/                    photos/CLASS/NAME.jpg
  visual-memory build photos.zip --split train   a .zip is read in place
  visual-memory build photos/ --encoder dinov2_vits14 --weights dinov2.pth
  visual-memory build photos/ --store pets       a memory of another name
  visual-memory build photos/ --dry-run          what would be in it?"""
_ADD = """\
  visual-memory add more/                        more/CLASS/NAME.jpg
  visual-memory add photos/                      whatever is new in there
  visual-memory add rex.jpg max.jpg --class dog  single images
  visual-memory add photos/ --update             what has changed there, too
  visual-memory add more/ --metadata '{"license": "CC0"}'"""
_REBUILD = """\
  visual-memory rebuild --encoder dinov2_vits14 --weights dinov2.pth
  visual-memory rebuild --encoder pixels --option size=64"""


DEFAULT = "procedural_vit"
"""The encoder of a new memory: of those that come with the package, in whose
weights no photograph is, the best on photographs (docs/findings.md)."""


def default_encoder(parser: argparse.ArgumentParser) -> None:
  """The options that say which encoder; one comes with the package."""
  _add_encoder(parser, " (default: %(default)s)", default=DEFAULT)


def required_encoder(parser: argparse.ArgumentParser) -> None:
  """The options that say which encoder, where one must be named."""
  _add_encoder(parser, "", required=True)


def _add_encoder(parser: commands.Parser, note: str, **options: Any) -> None:
  action = parser.add_argument("-e", "--encoder", metavar="NAME", **options)
  parser.later[action] = lambda: f"one of: {', '.join(_encoder_names())}{note}"
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


def _encoder_names() -> Sequence[str]:
  """The encoders' names."""
  from visual_memory.encoders.encoder import list_encoders

  return list_encoders()


def given_encoder(
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


@command("build", images.new, default_encoder, examples=_BUILD)
def build(arguments: argparse.Namespace) -> int:
  """Build a memory from a folder of images.

  If it is stopped, the same command goes on where it was.
  """
  origins.check_there(arguments.images)
  from visual_memory.collection import adding, ingest

  request = images.request(arguments)
  ingest.unfinished(arguments.store)  # Refused before anything is loaded.
  encoder, values = given_encoder(arguments)
  store, report = adding.build(
    arguments.store, arguments.images, encoder, values, request
  )
  return _report(arguments, store, report, "Built")


@command("add", images.more, examples=_ADD)
def add(arguments: argparse.Namespace) -> int:
  """Add images to a memory.

  A picture is known by its content and its place: the same folder may be added
  again, and what is new in it, moved or changed is said.
  """
  store = output.open_store(arguments)
  origins.check_there(arguments.images)
  from visual_memory.collection import adding

  report = adding.add(store, arguments.images, images.request(arguments))
  return _report(arguments, store, report, "Added to")


def _report(arguments, store: Store | None, report, verb: str) -> int:
  """Says what became of the images; the exit code."""
  output.remarks(report.remarks())
  rows = 0 if store is None else len(store)
  result = {
    "store": os.path.abspath(arguments.store),
    **report.to_dict(),
    "rows": rows,
    "classes": 0 if store is None else output.num_classes(store),
  }
  parts = [output.counted(report.num_added, "new image")]
  parts += [f"{report.num_updated:,} updated"] * bool(report.num_updated)
  parts += [f"{report.num_relabelled:,} relabelled"] * bool(
    report.num_relabelled
  )
  parts += [f"{report.num_present:,} were there"] * bool(report.num_present)
  verb = f"Dry run of {arguments.store}" if report.dry_run else (
    f"{verb} {arguments.store}"
  )  # fmt: skip
  holds = "nothing yet" if store is None else output.holding(store)
  output.show(
    arguments, result, f"{verb}: {', '.join(parts)}. It holds {holds}."
  )
  if result["classes"] == 1 and arguments.class_name is None:
    output.say(
      "Note: there is only one class. Classes are folders:"
      " photos/CLASS/NAME.jpg."
    )
  return 1 if report.problems else 0


@command(
  "rebuild",
  required_encoder,
  option(
    "--batch-size", type=int, metavar="N", help="images given to a device"
  ),
  option(
    "--drop-missing",
    action="store_true",
    help="leave out images that are no longer where they were",
  ),
  commands.yes,
  examples=_REBUILD,
)
def rebuild(arguments: argparse.Namespace) -> int:
  """Embed all images again with another encoder.

  The memory answers, and may be edited, until the new one takes its place; if
  it is stopped, the same command goes on where it was.
  """
  from visual_memory.collection import ingest
  from visual_memory.collection import rebuild as rebuild_lib

  store = output.open_store(arguments)
  encoder, values = given_encoder(arguments)

  def drop(missing: int, rows: int) -> bool:
    return arguments.drop_missing and output.confirm(
      arguments,
      f"Leave out {missing:,} of {rows:,} images, which are not where they"
      " were (`relocate OLD NEW` says where a folder went)?",
      gone=missing,
      of=rows,
    )

  with ingest.alone(arguments.store):
    lost = rebuild_lib.rebuild(
      arguments.store,
      encoder,
      values,
      drop_missing=drop,
      batch_size=arguments.batch_size,
    )
  output.skipped(lost)
  store = output.open_store(arguments)
  result = {
    "rows": len(store),
    "encoder": values,
    "fingerprint": store.fingerprint,
    "skipped": [{"id": i, "reason": why} for i, why in lost],
  }
  output.show(
    arguments,
    result,
    f"Rebuilt {arguments.store}: {output.counted(len(store), 'image')} by"
    f" {arguments.encoder}.",
  )
  return 0


@command(
  "relocate",
  option("old", metavar="OLD", help="where it was"),
  option("new", metavar="NEW", help="where it is now"),
  commands.careful,
  examples="  visual-memory relocate photos/ archive/photos/",
)
def relocate(arguments: argparse.Namespace) -> int:
  """Say where a folder or .zip of images went.

  Its images are looked for there first.
  """
  store = output.open_store(arguments)
  look = provenance.relocate(
    store, arguments.old, arguments.new, force=arguments.yes, dry_run=True
  )
  lost = look.num_rows - look.num_found
  text = (
    f"{look.num_found:,} of {look.num_rows:,} pictures of {look.old} are in"
    f" {look.new}."
  )
  if not arguments.dry_run:
    question = f"{text} Record that it moved?"
    if lost and not output.confirm(
      arguments, question, gone=lost, of=look.num_rows
    ):
      return 1
    provenance.relocate(store, arguments.old, arguments.new, force=True)
    text += " Recorded."
  output.show(arguments, {**vars(look), "dry_run": arguments.dry_run}, text)
  return 0


if TYPE_CHECKING:
  import visual_memory.encoders.encoder
