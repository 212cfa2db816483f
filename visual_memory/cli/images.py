"""Images as a user names them: a folder, a .zip, single files."""

import argparse
import os
from collections.abc import Sequence

from visual_memory.collection.provenance import Origin
from visual_memory.data import folder, relabeling, selection
from visual_memory.data.image_source import ImageSource


def add_options(parser: argparse.ArgumentParser) -> None:
  """The options that say what to read and how."""
  parser.add_argument(
    "images",
    metavar="IMAGES",
    help="a folder or .zip with one directory of images for each class",
  )
  parser.add_argument(
    "--split", metavar="NAME", help="read only this top directory (train, ...)"
  )
  parser.add_argument(
    "--class",
    dest="class_name",
    metavar="NAME",
    help="the class of all of them, whatever their directories",
  )
  parser.add_argument(
    "--unlabeled",
    action="store_true",
    help="ignore directories: no image has a class (they have no vote)",
  )
  parser.add_argument(
    "--batch-size", type=int, metavar="N", help="images given to a device"
  )


def open_images(
  arguments: argparse.Namespace, *, prefix: str = ""
) -> tuple[ImageSource, Origin]:
  """The images that the options name, and what opens them again.

  Raises:
    FileNotFoundError: there is nothing there.
    ValueError: no images, or classes that must be said; names the option.
  """
  path = os.path.abspath(arguments.images)
  if not os.path.exists(path):
    raise FileNotFoundError(
      f"There is no folder, .zip or image at {arguments.images!r}."
    )
  no_classes = arguments.unlabeled or arguments.class_name is not None
  is_image = os.path.splitext(path)[1].lower() in folder.IMAGE_SUFFIXES
  if is_image and not no_classes:
    raise ValueError(
      f"{arguments.images!r} is one image: say its class with --class NAME."
    )
  options = {
    "path": os.path.dirname(path) if is_image else path,
    "unlabeled": no_classes,
  }
  if arguments.split is not None:
    options["split"] = arguments.split
  origin = Origin(name="folder", options=options, prefix=prefix)
  try:
    source = origin.open()
  except ValueError as error:
    raise ValueError(_in_options(str(error))) from error
  if is_image:
    row = source.paths.index(os.path.basename(path))
    source = selection.subset(source, [row])
  if arguments.class_name is not None:
    source = relabeling.of_class(source, arguments.class_name)
  return source, origin


def image_files(paths: Sequence[str]) -> list[str]:
  """Files as they are, and the images below directories."""
  found = []
  for path in paths:
    if os.path.isdir(path):
      source = folder.folder(path, unlabeled=True)
      found += [os.path.join(path, name) for name in source.paths]
    else:
      found.append(path)
  return found


def _in_options(message: str) -> str:
  """An error of the library in terms of the command's options."""
  return (
    message.replace("split=.", "--split NAME.")
    .replace("leave split out", "leave --split out")
    .replace(
      "or pass unlabeled=True if there are no classes",
      "or say --class NAME for all of them, or --unlabeled",
    )
  )
