"""COCO's instances as masks: a class for every pixel (`perception` extra)."""

import functools
import os
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32

from visual_memory import types
from visual_memory.data import (
  contents,
  decoding,
  file_trees,
  image_source,
  mask_sources,
)


def coco(path: str | os.PathLike, *, split: str) -> mask_sources.MaskedImages:
  """COCO 2017 (Lin et al. 2014): pixels of no instance are "background".

  Instances are painted in the file's order, crowds included, later ones over
  earlier ones (as the perception paper's code does). Class 0 is background,
  then the categories in the order of their numbers.

  Args:
    path: holds {split}2017/ and annotations/instances_{split}2017.json.
    split: "train" or "val".

  Raises:
    ImportError: pycocotools is missing.
    ValueError: no such split, a damaged annotation file, or an image that it
      names and that is not there.
  """
  images, annotations = _open(path, split)
  tree = file_trees.open_tree(os.path.join(path, f"{split}2017"))
  names = [entry["file_name"] for entry in images]
  absent = sorted(set(names).difference(tree.paths))
  if absent:
    raise ValueError(
      f"{len(absent)} images of the annotations are not in {split}2017; the"
      f" first: {absent[0]!r}."
    )
  categories = sorted(annotations.cats)
  class_of = {number: 1 + index for index, number in enumerate(categories)}

  return mask_sources.MaskedImages(
    tree=tree,
    paths=names,
    ids=types.as_ids([f"{split}2017/{name}" for name in names]),
    labels=np.full(len(names), types.UNLABELED, np.int32),
    class_names=(
      "background",
      *(annotations.cats[number]["name"] for number in categories),
    ),
    read_mask=functools.partial(_painted, annotations, images, class_of),
    fingerprint=image_source.digest(
      [(name, *tree.stamp(name)) for name in names],
      contents.stamp(os.stat(_annotation_file(path, split))),
    ),
  )


def _painted(
  annotations: Any, images: list[dict], class_of: dict[int, int], row: int
) -> Int32[np.ndarray, "H W"]:
  """The instances of the image at this position, one over the other."""
  entry = images[row]
  size = entry["height"], entry["width"]
  if not all(type(n) is int and n > 0 for n in size) or (
    size[0] * size[1] > decoding.MOST_PIXELS
  ):
    raise ValueError(
      f"The image {entry['file_name']!r} of the annotations is {size[0]!r} x"
      f" {size[1]!r}: no size of an image."
    )
  mask = np.zeros(size, np.int32)
  for instance in annotations.imgToAnns[entry["id"]]:
    mask[_region(annotations, instance, entry)] = class_of[
      instance["category_id"]
    ]
  return mask


def _region(
  annotations: Any, instance: dict, entry: dict
) -> Bool[np.ndarray, "H W"]:
  """Where an instance is. Run lengths state a size of their own."""
  region = instance.get("segmentation")
  stated = region.get("size") if isinstance(region, dict) else None
  try:
    if stated not in (None, [entry["height"], entry["width"]]):
      raise ValueError(f"its run lengths are of {stated!r:.40} pixels")
    return annotations.annToMask(instance).astype(bool)
  except Exception as error:  # pycocotools raises whatever its numbers do.
    raise ValueError(
      f"Instance {instance.get('id')!r:.40} of {entry['file_name']!r} is no"
      f" region of the image: {str(error)[:100]}."
    ) from error


def _annotation_file(path: str | os.PathLike, split: str) -> str:
  return os.path.join(path, "annotations", f"instances_{split}2017.json")


def _open(path: str | os.PathLike, split: str) -> tuple[list[dict], Any]:
  """The entries of the images, by number, and pycocotools' annotations."""
  try:
    from pycocotools.coco import COCO
  except ImportError as error:
    raise ImportError(
      "COCO's masks need pycocotools: pip install 'visual_memory[perception]'."
    ) from error
  file = _annotation_file(path, split)
  if not os.path.exists(file):
    raise ValueError(f"There is no {file!r}: is the split's name right?")
  try:
    annotations = COCO(file)  # It prints how long it took.
    images = [annotations.imgs[number] for number in sorted(annotations.imgs)]
    used = {entry["category_id"] for entry in annotations.anns.values()}
  except (ValueError, KeyError, AssertionError, TypeError) as error:
    raise ValueError(
      f"{file!r} is not a file of COCO instances: {error!r}."
    ) from error
  if not images:
    raise ValueError(f"{file!r} names no images: is it COCO's instances?")
  unknown = sorted(used.difference(annotations.cats))
  if unknown:
    raise ValueError(
      f"{file!r} has instances of category {unknown[0]}, which is not among its"
      f" {len(annotations.cats)} categories."
    )
  return images, annotations
