"""Every data source by its name.

source = open_source("folder", path="photos.zip", split="train")
example = source[0]     # image uint8 [H, W, 3], label, id
"""

from typing import Any

from visual_memory.data import (
  array_source,
  coco,
  fine_grained,
  folder,
  mask_sources,
  split_files,
  synthetic,
  tfds_source,
)
from visual_memory.data.image_source import ImageSource


def open_source(name: str, **options: Any) -> ImageSource:
  """The source of this name (a key of SOURCES).

  Args:
    name: "folder", "split_file", "aircraft", "tfds", "npz", "digits",
      "synthetic" or "procedural".
    **options: the keyword arguments of that function; for "tfds" the
      dataset's name is `dataset`.

  Raises:
    ValueError: no such source; it names those there are.
    TypeError: an option that the source does not have.
  """
  if name not in SOURCES:
    raise ValueError(
      f"There is no data source {name!r}; there are: {', '.join(SOURCES)}."
    )
  return SOURCES[name](**options)


def _procedural(**options: Any) -> ImageSource:
  """Imported when asked for: its tables of operators take a while."""
  from visual_memory.data import procedural_source

  return procedural_source.procedural(**options)


SOURCES = {
  "folder": folder.folder,
  "split_file": split_files.split_file,
  "aircraft": split_files.aircraft,
  "flowers102": fine_grained.flowers102,
  "cub200": fine_grained.cub200,
  "food101": fine_grained.food101,
  "tfds": tfds_source.tfds,
  "npz": array_source.npz,
  "digits": array_source.digits,
  "synthetic": synthetic.synthetic,
  "procedural": _procedural,
  # With a class for every pixel.
  "shapes": synthetic.shapes,
  "camvid": mask_sources.camvid,
  "voc": mask_sources.voc,
  "ade20k": mask_sources.ade20k,
  "ade20k_full": mask_sources.ade20k_full,
  "coco": coco.coco,
}
"""Functions of keyword arguments that open a source."""
