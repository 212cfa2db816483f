"""Published segmentation data sets, each in the layout of its authors.

  source = open_source("camvid", path="camvid.zip", split="train")
  source[0].image, source.mask(0)     # uint8 [H, W, 3], int32 [H, W]

camvid  {split}/NAME.png, {split}annot/NAME.png (index = class, 11 = void)
voc     JPEGImages/, SegmentationClass/, ImageSets/Segmentation/{split}.txt
ade20k  images/{split}/, annotations/{split}/ (0 = void, then 150 classes)
ade20k_full  images/ADE/{split}/**/NAME.jpg, NAME_seg.png (2021 release)
coco    {split}2017/, annotations/instances_{split}2017.json
All but coco are read in place from a directory or a .zip.
"""

import dataclasses
import functools
import io
import os
import posixpath
from collections.abc import Callable, Sequence
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int32
from PIL import Image

from visual_memory import types
from visual_memory.data import decoding, file_trees, image_source

CAMVID_CLASSES = (
  "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence",
  "car", "pedestrian", "bicyclist",
)  # fmt: skip

VOC_CLASSES = (
  "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car",
  "cat", "chair", "cow", "diningtable", "dog", "horse", "motorbike", "person",
  "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

_ADE_CODES = 26 * 256


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class MaskedImages(image_source.Described):
  """Images with a class for every pixel; see `data.preprocess`.

  Attributes:
    tree: where the images are read.
    paths: one for each image.
    ids: the paths without what is common to all, [N].
    labels: UNLABELED: an image has no class of its own, [N].
    class_names: of the classes of pixels.
    read_mask: from a position to its mask, before it is checked.
    fingerprint: of names, sizes and times of images and masks.
  """

  tree: file_trees.FileTree
  paths: list[str]
  ids: np.ndarray
  labels: np.ndarray
  class_names: tuple[str, ...]
  read_mask: Callable[[int], np.ndarray]
  fingerprint: str

  def __len__(self) -> int:
    """The number of images."""
    return len(self.paths)

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """The image at this position; UnreadableImage if it is damaged."""
    id = self.ids[row]
    image = decoding.decode_image(self._read(row), id=id, orient=False)
    return types.Example(image=image, label=types.UNLABELED, id=id)

  def mask(self, row: SupportsIndex) -> Int32[np.ndarray, "H W"]:
    """The class of every pixel, UNLABELED where it does not count.

    Raises:
      ValueError: a mask of another size than its image, with a class that the
        data set does not have, or that cannot be decoded; names the image.
    """
    id, row = self.ids[row], range(len(self))[row]
    mask = self.read_mask(row)
    with Image.open(io.BytesIO(self._read(row))) as image:
      width, height = image.size
    if mask.shape != (height, width):
      raise ValueError(
        f"The mask of {id!r} is {' x '.join(map(str, mask.shape))} pixels, but"
        f" its image is {height} x {width} (height x width)."
      )
    unknown = (mask < types.UNLABELED) | (mask >= len(self.class_names))
    if unknown.any():
      raise ValueError(
        f"The mask of {id!r} holds class {mask[unknown][0]}; there are"
        f" {len(self.class_names)} classes, 0 to {len(self.class_names) - 1}."
      )
    return mask.astype(np.int32)

  def _read(self, row: SupportsIndex) -> bytes:
    try:
      return self.tree.read(self.paths[row])
    except OSError as error:
      raise decoding.UnreadableImage(
        self.ids[row], error.strerror or str(error)
      ) from error


def camvid(path: str | os.PathLike, *, split: str) -> MaskedImages:
  """CamVid (Brostow et al. 2009) in SegNet's 11 classes; 11 is void.

  Raises:
    ValueError: see `masked_files`.
  """
  return masked_files(
    path,
    images=split,
    masks=f"{split}annot",
    class_names=CAMVID_CLASSES,
    classes=functools.partial(_indexed, {len(CAMVID_CLASSES): types.UNLABELED}),
  )


def voc(path: str | os.PathLike, *, split: str) -> MaskedImages:
  """Pascal VOC's segmentation split (its background is a class; 255 void)."""
  tree = file_trees.open_tree(path)
  listing = _below(tree, f"ImageSets/Segmentation/{split}.txt", path=path)
  names = tree.read(listing).decode().split()
  return masked_files(
    path,
    images="JPEGImages",
    masks="SegmentationClass",
    class_names=VOC_CLASSES,
    classes=functools.partial(_indexed, {255: types.UNLABELED}),
    names=names,
  )


def ade20k(path: str | os.PathLike, *, split: str) -> MaskedImages:
  """ADE20K's scene parsing benchmark (2016): 150 classes; 0 is void.

  Split: "training" or "validation". Names come from objectInfo150.txt.
  """
  tree = file_trees.open_tree(path)
  listing = _below(tree, "objectInfo150.txt", path=path)
  lines = tree.read(listing).decode().strip().splitlines()[1:]
  return masked_files(
    path,
    images=f"images/{split}",
    masks=f"annotations/{split}",
    class_names=[line.split("\t")[-1].strip() for line in lines],
    classes=_after_void,
  )


def ade20k_full(path: str | os.PathLike, *, split: str) -> MaskedImages:
  """The full ADE20K (2021_17_01): a class is its code, R // 10 * 256 + G.

  Classes are named by their codes (1831 is a person); code 0 is void.
  """
  return masked_files(
    path,
    images=f"images/ADE/{split}",
    masks=f"images/ADE/{split}",
    mask_suffix="_seg",
    class_names=[str(code) for code in range(_ADE_CODES)],
    classes=_ade_codes,
  )


def masked_files(
  path: str | os.PathLike,
  *,
  images: str,
  masks: str,
  class_names: Sequence[str],
  classes: Callable[[np.ndarray], np.ndarray],
  names: Sequence[str] | None = None,
  mask_suffix: str = "",
) -> MaskedImages:
  """Images in one directory and masks of the same names in another.

  Args:
    path: a directory or .zip that has both, or a folder that has them.
    images: the directory of images, nested or not.
    masks: that of the masks, which are .png files.
    class_names: of the pixels.
    classes: from a mask's pixels to classes, UNLABELED where void.
    names: of the images to take, without suffix; all by default.
    mask_suffix: between the image's name and ".png".

  Raises:
    FileNotFoundError: there is nothing at path.
    ValueError: no such directory, or an image without mask, named.
  """
  tree = file_trees.open_tree(path)
  found = _stems(tree, images, path=path, skipped=mask_suffix)
  mask_paths = _stems(tree, masks, path=path, skipped=None)
  stems = sorted(found) if names is None else list(names)
  for stem in stems:
    for paths, what in ((found, "image"), (mask_paths, "mask")):
      stem_there = stem + (mask_suffix if what == "mask" else "")
      if stem_there not in paths:
        raise ValueError(f"There is no {what} {stem_there!r} in {path!r}.")
  chosen = [mask_paths[stem + mask_suffix] for stem in stems]
  paths = [found[stem] for stem in stems]
  return MaskedImages(
    tree=tree,
    paths=paths,
    ids=types.as_ids([f"{images}/{stem}" for stem in stems]),
    labels=np.full(len(stems), types.UNLABELED, np.int32),
    class_names=tuple(class_names),
    read_mask=functools.partial(_read_mask, tree, chosen, classes),
    fingerprint=image_source.digest(
      [(name, *tree.stamp(name)) for name in paths + chosen], list(class_names)
    ),
  )


def _read_mask(
  tree: file_trees.FileTree,
  paths: list[str],
  classes: Callable[[np.ndarray], np.ndarray],
  row: int,
) -> Int32[np.ndarray, "H W"]:
  """The classes in the mask file at this position."""
  try:
    with Image.open(io.BytesIO(tree.read(paths[row]))) as image:
      decoding.check_size(image)
      return classes(np.asarray(image))
  except Exception as error:  # Pillow's parsers raise anything.
    raise ValueError(
      f"The mask {paths[row]!r} cannot be read: {error}."
    ) from error


def _stems(
  tree: file_trees.FileTree, directory: str, *, path, skipped: str | None
) -> dict[str, str]:
  """The files below a directory by their names without suffix."""
  anywhere = f"/{directory}/"
  found = {}
  for name in tree.paths:
    before, middle, rest = f"/{name}".partition(anywhere)
    stem, suffix = posixpath.splitext(rest)
    is_mask = bool(skipped) and (stem.endswith(skipped) or "_parts_" in stem)
    if middle and not is_mask and suffix.lower() in (".png", ".jpg", ".jpeg"):
      found[stem] = name
  if not found:
    raise ValueError(
      f"There are no images under {directory!r} in {os.fspath(path)!r}: is the"
      " split's name right?"
    )
  return found


def _below(tree: file_trees.FileTree, name: str, *, path) -> str:
  """The path of the file that ends so."""
  for candidate in tree.paths:
    if f"/{candidate}".endswith(f"/{name}"):
      return candidate
  raise ValueError(
    f"There is no {name!r} in {os.fspath(path)!r}: is the split's name right?"
  )


def _indexed(changes: dict[int, int], values: np.ndarray) -> np.ndarray:
  """Indexed pixels as classes, some of them renumbered."""
  if values.ndim != 2:
    raise OSError("it has colors, where one index per pixel is expected")
  result = values.astype(np.int32)
  for old, new in changes.items():
    result[values == old] = new
  return result


def _after_void(values: np.ndarray) -> np.ndarray:
  """Indexed pixels whose 0 is void and whose classes begin at 1."""
  return _indexed({}, values) - 1


def _ade_codes(values: np.ndarray) -> np.ndarray:
  """The class codes of the full ADE20K; 0 becomes UNLABELED."""
  if values.ndim != 3:
    raise OSError("it has no colors, in which the class is coded")
  red, green = (values[..., channel].astype(np.int32) for channel in (0, 1))
  codes = red // 10 * 256 + green
  return np.where(codes == 0, types.UNLABELED, codes)
