"""Which pictures a command means, and how their folders are to be read."""

import argparse
from typing import TYPE_CHECKING

from visual_memory.cli import commands
from visual_memory.collection import origins

if TYPE_CHECKING:
  import visual_memory.collection.adding


def new(parser: argparse.ArgumentParser) -> None:
  """The options that say what to read and how, where there is nothing yet."""
  parser.add_argument(
    "images",
    metavar="IMAGES",
    nargs="+",
    help="a folder or .zip with one folder of images for each class, or"
    " image files",
  )
  parser.add_argument(
    "--split", metavar="NAME", help="read only this top folder (train, ...)"
  )
  parser.add_argument(
    "--class",
    dest="class_name",
    type=commands.class_name,
    metavar="NAME",
    help="the class of all of them, whatever their folders",
  )
  parser.add_argument(
    "--class-level",
    metavar="LEVEL",
    help="which folder is the class: 1, 2, ... from the top, 'last' (the one"
    " that an image lies in) or 'path' (all of them)",
  )
  parser.add_argument(
    "--unlabeled",
    action="store_true",
    help="ignore folders: no image has a class (they have no vote)",
  )
  parser.add_argument(
    "--exclude",
    action="append",
    default=[],
    metavar="PATTERN",
    help="leave out files or folders of this name, such as 'thumb*'; may be"
    " repeated",
  )
  parser.add_argument(
    "--zip-encoding",
    metavar="NAME",
    help="of names in a .zip that state none, such as cp932",
  )
  parser.add_argument(
    "--prefix", default="", metavar="TEXT", help="put before the ids"
  )
  parser.add_argument(
    "--metadata",
    type=commands.json_object,
    metavar="JSON",
    help="an object that is kept with every image, such as its license",
  )
  parser.add_argument(
    "--batch-size", type=int, metavar="N", help="images given to a device"
  )
  commands.dry_run(parser)


def more(parser: argparse.ArgumentParser) -> None:
  """Those options, where there may be pictures already."""
  new(parser)
  parser.add_argument(
    "--update",
    action="store_true",
    help="embed changed files again, and take the class that moved ones"
    " have now",
  )
  parser.add_argument(
    "--forgotten",
    action="store_true",
    help="add images again that were removed from the memory",
  )
  parser.add_argument(
    "--reread",
    action="store_true",
    help="read every file again, also where size, number and times say that it"
    " is what it was",
  )


def request(
  arguments: argparse.Namespace,
) -> "visual_memory.collection.adding.Request":
  """What the options ask for."""
  from visual_memory.collection.adding import Request

  return Request(
    options=origins.Options(
      flat=arguments.unlabeled or arguments.class_name is not None,
      split=arguments.split,
      class_level=arguments.class_level,
      exclude=tuple(arguments.exclude),
      zip_encoding=arguments.zip_encoding,
      prefix=arguments.prefix,
    ),
    class_name=arguments.class_name,
    metadata=arguments.metadata,
    update=getattr(arguments, "update", False),
    forgotten_too=getattr(arguments, "forgotten", False),
    reread=getattr(arguments, "reread", False),
    dry_run=arguments.dry_run,
    batch_size=arguments.batch_size,
  )
