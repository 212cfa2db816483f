"""Every data source by its name.

source = open_source("folder", path="photos.zip", split="train")
example = source[0]     # image uint8 [H, W, 3], label, id
"""

import inspect
import os
from collections.abc import Collection, Mapping
from typing import Any

from visual_memory.data import (
  array_source,
  coco,
  fine_grained,
  folder,
  huggingface,
  mask_sources,
  pieces,
  relabeling,
  split_files,
  synthetic,
  tfds_source,
)
from visual_memory.data.image_source import ImageSource


def list_sources() -> tuple[str, ...]:
  """The names that `open_source` knows."""
  return tuple(SOURCES)


def open_source(
  name: str,
  *,
  class_names: str | os.PathLike | Mapping[str, str] | None = None,
  **options: Any,
) -> ImageSource:
  """The source of this name, with this source's own options.

  One's own pictures, and files of arrays:
    "folder": path (a directory or .zip with a directory for each class),
      split="train" (a top directory), unlabeled=False, orient=True.
    "split_file": path, list_file (JSON of a published few-shot split), split,
      orient=True.
    "npz": path, split=None (the prefix of its arrays; MedMNIST's layout).
    "huggingface": dataset, path (of save_to_disk) or name, split, image, label,
      orient=True.
    "tfds": dataset (its name), split, data_dir=None, label_feature="",
      id_feature="".

  Nothing to download:
    "digits": split=None ("train", "test" or all): 1,797 digits of 8 x 8.
    "synthetic": num_images, num_classes, size, seed: colored noise.
    "procedural": num_programs, num_views, size, seed, family="shaders".

  Published data sets as their authors unpack them (path holds them):
    "aircraft": path, split ("train", "val", "trainval", "test"), orient=True.
    "flowers102": path, split ("train", "val", "test").
    "cub200": path, split ("train", "test").
    "food101": path, split ("train", "test").

  With a class for every pixel:
    "shapes": num_images=12, size=32, seed=0, split="train"; made up.
    "camvid": path, split ("train", "val", "test").
    "voc": path, split ("train", "val", "trainval").
    "ade20k": path, split ("training", "validation").
    "ade20k_full": path, split ("training", "validation").
    "coco": path, split ("train", "val").

  Parts of the pictures of another source, named `of`:
    "windows": of, its options, side=64, share=0.5: windows of the class of more
      than that share of their pixels.
    "crops": of, its options, per_image=10, scale=(0.1, 0.5): each crop is of
      the class of its picture; per_image=0: the pictures, each its own class.

  Args:
    name: one of `list_sources()`.
    class_names: what the classes are called, where their folders or numbers
      do not say it: a file, a mapping, or a map that comes with the package
      ("imagenet_1k"); see `class_names.read_class_names`.
    **options: as above; those without a value here must be given.

  Raises:
    ValueError: no such source; it names those there are. Or a class that
      class_names lack.
    TypeError: an option that the source does not have, or one that it needs.
  """
  check_options(name, ())
  source = SOURCES[name](**options)
  if class_names is None:
    return source
  names = relabeling.read_class_names(class_names)
  return relabeling.renamed(source, names)


def check_options(name: str, options: Collection[str]) -> None:
  """Raises ValueError unless there is such a source, with such options."""
  if name not in SOURCES:
    raise ValueError(
      f"There is no data source {name!r}; there are: {', '.join(SOURCES)}."
    )
  known = inspect.signature(SOURCES[name]).parameters
  free = any(each.kind is each.VAR_KEYWORD for each in known.values())
  for option in options:
    if option not in known and not free:
      raise ValueError(
        f"The data source {name!r} has no option {option!r}; it has:"
        f" {', '.join(known) or 'none'}."
      )


def _procedural(**options: Any) -> ImageSource:
  """Imported when asked for: its tables of operators take a while."""

  return synthetic.procedural(**options)


def _windows(
  of: str, side: int = 64, share: float = 0.5, **options: Any
) -> ImageSource:
  return pieces.windows(open_source(of, **options), side=side, share=share)


def _crops(
  of: str,
  per_image: int = 10,
  scale: tuple[float, float] = (0.1, 0.5),
  **options: Any,
) -> ImageSource:
  return pieces.crops(
    open_source(of, **options), per_image=per_image, scale=scale, seed=0
  )


SOURCES = {
  "folder": folder.folder,
  "split_file": split_files.split_file,
  "aircraft": split_files.aircraft,
  "flowers102": fine_grained.flowers102,
  "cub200": fine_grained.cub200,
  "food101": fine_grained.food101,
  "tfds": tfds_source.tfds,
  "huggingface": huggingface.huggingface,
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
  "windows": _windows,
  "crops": _crops,
}
"""Functions of keyword arguments that open a source."""
