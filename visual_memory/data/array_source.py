"""Images already in memory: a .npz file, or scikit-learn's scanned digits.

source = npz("pathmnist.npz", split="train")
source = digits(split="test")
"""

import dataclasses
import hashlib
import importlib.util
import os
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Int, UInt8

from visual_memory import files, types
from visual_memory.data import image_source, selection


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class ArraySource(image_source.Described):
  """Images in one array. Build one with `array_source`, which validates.

  Attributes:
    images: uint8 RGB, [N, H, W, 3].
    labels: int32 [N].
    ids: [N].
    class_names: one for each class index.
    fingerprint: hash of the content.
  """

  images: UInt8[np.ndarray, "N H W 3"]
  labels: Int[np.ndarray, "N"]
  ids: np.ndarray
  class_names: tuple[str, ...]
  fingerprint: str

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """The image at this position."""
    return types.Example(
      image=self.images[row], label=int(self.labels[row]), id=self.ids[row]
    )


def array_source(
  images: np.ndarray,
  labels: np.ndarray,
  *,
  ids: Sequence[str] | np.ndarray,
  class_names: Sequence[str],
  fingerprint: str,
) -> ArraySource:
  """A source over arrays, after checking them.

  Args:
    images: uint8 [N, H, W, 3], or gray [N, H, W] or [N, H, W, 1].
    labels: [N] (or [N, 1]) integers.
    ids: [N] unique strings.
    class_names: one for each class index.
    fingerprint: hash of the content.

  Raises:
    ValueError: another type or shape, lengths that differ, a label out of
      range, or a duplicate id.
  """
  if images.dtype != np.uint8:
    raise ValueError(
      f"images must be uint8, 0 to 255; got {images.dtype}: convert them first."
    )
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim != 4 or images.shape[-1] not in (1, 3):
    raise ValueError(
      "images must be [N, H, W, 3], [N, H, W, 1] or [N, H, W]; got"
      f" {images.shape}."
    )
  if 0 in images.shape:
    raise ValueError(f"There are no pixels in images of shape {images.shape}.")
  if labels.ndim == 2 and labels.shape[1] == 1:
    labels = labels[:, 0]
  ids = types.as_ids(ids)
  if len(ids) != len(images):
    raise ValueError(
      f"{len(images)} images but {len(ids)} ids: one id is needed for every"
      " image."
    )
  types.check_unique(ids)
  return ArraySource(
    images=np.broadcast_to(images, (*images.shape[:3], 3)),
    labels=image_source.check_labels(
      labels, num_rows=len(images), num_classes=len(class_names)
    ),
    ids=ids,
    class_names=types.as_class_names(class_names),
    fingerprint=fingerprint,
  )


def npz(path: str | os.PathLike, *, split: str | None = None) -> ArraySource:
  """The images of a .npz file.

  The arrays are `images` and `labels`, or with a split `{split}_images` and
  `{split}_labels` (MedMNIST's layout); `ids` (of the same prefix) and
  `class_names` are optional. Without ids they are the file's name, the split
  and the position; without class names, the label's digits.

  Args:
    path: the file.
    split: the prefix of its arrays; None reads those without a prefix.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: not a .npz, a missing array or split, or bad content.
  """
  path = os.fspath(path)
  if not os.path.exists(path):
    raise FileNotFoundError(f"There is no .npz file at {path!r}.")
  try:
    with zipfile.ZipFile(path) as archive:
      names = [entry.filename for entry in archive.infolist()]
  except Exception as error:  # A damaged directory breaks its parser anyhow.
    raise ValueError(
      f"{path!r} is not a .npz file: {files.reason(error)}."
    ) from error
  try:
    prefix = f"{split}_" if split else ""
    _check_arrays([name.removesuffix(".npy") for name in names], prefix)
    arrays = files.read_arrays(
      path, {"class_names", *(prefix + n for n in ("images", "labels", "ids"))}
    )
    return array_source(
      **_named_arrays(arrays, path=path, split=split),
      fingerprint=image_source.digest(
        "npz", [(name, _content(arrays[name])) for name in sorted(arrays)]
      ),
    )
  except ValueError as error:
    raise ValueError(f"{path!r} cannot be used: {error}") from error


def _content(array: np.ndarray) -> str:
  """A hash of an array."""
  about = repr((array.dtype.str, array.shape)).encode()
  digest = hashlib.blake2b(about, digest_size=16)
  digest.update(np.ascontiguousarray(array).view(np.uint8))
  return digest.hexdigest()


def _named_arrays(
  arrays: Mapping[str, np.ndarray], *, path: str, split: str | None
) -> dict[str, Any]:
  """The arguments of `array_source` that a file holds, or their defaults."""
  prefix = f"{split}_" if split else ""
  images, labels = arrays[prefix + "images"], arrays[prefix + "labels"]
  if prefix + "ids" in arrays:
    ids = arrays[prefix + "ids"]
  else:
    stem = os.path.splitext(os.path.basename(path))[0]
    name = f"{stem}/{split}" if split else stem
    ids = [f"{name}/{row}" for row in range(len(images))]
  if "class_names" in arrays:
    class_names = [str(name) for name in arrays["class_names"]]
  else:
    class_names = [str(x) for x in range(int(labels.max(initial=-1)) + 1)]
  return dict(images=images, labels=labels, ids=ids, class_names=class_names)


def _check_arrays(names: Sequence[str], prefix: str) -> None:
  """Raises ValueError unless the file has images and labels."""
  missing = [
    prefix + name for name in ("images", "labels") if prefix + name not in names
  ]
  if not missing:
    return
  splits = sorted(
    name.removesuffix("_images") for name in names if name.endswith("_images")
  )
  hint = f" Its splits: {image_source.known_names(splits)}." if splits else ""
  raise ValueError(
    f"no array {image_source.known_names(missing)}; the file has"
    f" {image_source.known_names(sorted(names))}.{hint}"
  )


def digits(*, split: str | None = None) -> image_source.ImageSource:
  """The 1,797 scans of handwritten digits that scikit-learn carries.

  8 x 8 pixels, 17 gray levels spread over 0..255, classes "0" to "9"
  (Alpaydin and Kaynak 1998, the test part of the UCI set).

  Args:
    split: "train" (about two thirds) or "test", by a hash of the id; None
      is all of them.

  Raises:
    ValueError: another split.
    ImportError: scikit-learn is not installed.
  """
  if split not in (None, "train", "test"):
    raise ValueError(
      f"digits has no split {split!r}; it has 'train' and 'test'."
    )
  carried = importlib.util.find_spec("sklearn")
  if carried is None or carried.origin is None:
    raise ImportError(
      "The digits come with scikit-learn: pip install 'visual_memory[data]'."
    )
  # Its file alone: to import scikit-learn takes longer than most runs.
  path = pathlib.Path(carried.origin).with_name("datasets")
  table = np.loadtxt(path / "data" / "digits.csv.gz", delimiter=",")
  scans, labels = table[:, :-1], table[:, -1].astype(np.int32)
  source = array_source(
    np.rint(scans.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8),
    labels,
    ids=[f"digits/{row:04d}" for row in range(len(scans))],
    class_names=[str(digit) for digit in range(10)],
    fingerprint=image_source.digest("digits", scans.sum()),
  )
  if split is None:
    return source
  is_test = selection.id_hash(source.ids, salt="digits") < 1 / 3
  wanted = is_test if split == "test" else ~is_test
  return selection.subset(source, np.flatnonzero(wanted))
