"""Making a memory, and making it larger: build, add, rebuild."""

import argparse
import json
import os
from typing import Any

from visual_memory.cli import encoders, images, output
from visual_memory.collection import ingest, provenance
from visual_memory.collection import rebuild as rebuild_lib

_BUILD = """\
  visual-memory build photos/                    photos/CLASS/NAME.jpg
  visual-memory build photos.zip --split train   a .zip is read in place
  visual-memory build photos/ --encoder dinov2_vits14 --weights dinov2.pth
  visual-memory build photos/ --store pets       a memory of another name"""
_ADD = """\
  visual-memory add more/                        more/CLASS/NAME.jpg
  visual-memory add photos/                      whatever is new in there
  visual-memory add rex.jpg --class dog          one image
  visual-memory add holiday/ --prefix 2026/      ids that are not taken yet
  visual-memory add more/ --metadata '{"license": "CC0"}'"""
_REBUILD = """\
  visual-memory rebuild --encoder dinov2_vits14 --weights dinov2.pth
  visual-memory rebuild --encoder pixels --option size=64"""


def add_commands(commands: Any) -> None:
  """Adds build, add and rebuild."""
  parser = output.command(
    commands,
    "build",
    _build,
    text="Build a memory from a folder of images. If it is stopped, the same"
    " command goes on where it was.",
    examples=_BUILD,
  )
  images.add_options(parser)
  _add_metadata(parser)
  encoders.add_options(parser, required=False)

  parser = output.command(
    commands,
    "add",
    _add,
    text="Add images to a memory. Those that are there already (by their"
    " path) are left out, so the same folder may be added again.",
    examples=_ADD,
  )
  images.add_options(parser)
  parser.add_argument(
    "--prefix", default="", metavar="TEXT", help="put before the ids"
  )
  _add_metadata(parser)

  parser = output.command(
    commands,
    "rebuild",
    _rebuild,
    text="Embed all images again with another encoder. The memory answers, and"
    " may be edited, until the new one takes its place; if it is stopped, the"
    " same command goes on where it was.",
    examples=_REBUILD,
  )
  encoders.add_options(parser, required=True)
  parser.add_argument(
    "--batch-size", type=int, metavar="N", help="images given to a device"
  )
  parser.add_argument(
    "--drop-missing",
    action="store_true",
    help="leave out images that are no longer where they were",
  )


def _add_metadata(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--metadata",
    type=json.loads,
    metavar="JSON",
    help="an object that is kept with every image, such as its license",
  )


def _build(arguments: argparse.Namespace) -> None:
  source, origin = images.open_images(arguments)
  encoder, values = encoders.load(arguments)
  store = ingest.create(arguments.store, encoder, values, source.class_names)
  done = _ingest(store, encoder, source, origin, arguments)
  ingest.finish(store)
  _report(arguments, store, done, "Built")


def _add(arguments: argparse.Namespace) -> None:
  store = output.open_store(arguments)
  source, origin = images.open_images(arguments, prefix=arguments.prefix)
  encoder = provenance.load_encoder(store)
  done = _ingest(store, encoder, source, origin, arguments)
  _report(arguments, store, done, "Added to")


def _ingest(store, encoder, source, origin, arguments) -> ingest.Ingested:
  return ingest.ingest(
    store,
    encoder,
    source,
    origin,
    metadata=arguments.metadata,
    batch_size=arguments.batch_size,
  )


def _report(arguments, store, done: ingest.Ingested, verb: str) -> None:
  """Says what became of the images."""
  output.skipped(done.skipped)
  result = {
    "store": os.path.abspath(arguments.store),
    "added": done.num_added,
    "already_there": done.num_present,
    "skipped": [{"id": i, "reason": why} for i, why in done.skipped],
    "rows": len(store),
    "classes": len(store.class_names),
  }
  there = f", {done.num_present:,} were there" if done.num_present else ""
  output.show(
    arguments,
    result,
    f"{verb} {arguments.store}: {output.counted(done.num_added, 'new image')}"
    f"{there}. It holds {output.holding(store)}.",
  )
  if len(store.class_names) == 1 and arguments.class_name is None:
    output.say(
      f"Note: there is only one class, {store.class_names[0]!r}. Classes are"
      " directories: photos/CLASS/NAME.jpg."
    )


def _rebuild(arguments: argparse.Namespace) -> None:
  output.open_store(arguments)
  encoder, values = encoders.load(arguments)
  lost = rebuild_lib.rebuild(
    arguments.store,
    encoder,
    values,
    drop_missing=arguments.drop_missing,
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
