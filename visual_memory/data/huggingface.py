"""Data sets of Hugging Face's `datasets`, read without their decoders.

  source = huggingface(path="beans_on_disk", split="train")   # save_to_disk
  source = huggingface(name="beans", split="train")           # fetched once
  source = huggingface(dataset, image="picture", label="kind")

Encoded bytes are read and decoded by decoding.py, like those of every source.
"""

import dataclasses
import os
from typing import Any, SupportsIndex

import numpy as np

from visual_memory import types
from visual_memory.data import decoding, image_source

_NEEDS = (
  "This source needs the `datasets` package: install it with"
  " pip install 'visual_memory[huggingface]'."
)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class HuggingFaceSource(image_source.Described):
  """Images of a `datasets.Dataset`. Build one with `huggingface`.

  Attributes:
    rows: the data set; its image column is not decoded.
    image: the image column.
    labels: int32 [N].
    ids: [N].
    class_names: one for each class index.
    orient: whether EXIF orientations are applied.
    fingerprint: hash of the data set's own fingerprint and the options.
  """

  rows: Any
  image: str
  labels: np.ndarray
  ids: np.ndarray
  class_names: tuple[str, ...]
  orient: bool
  fingerprint: str

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """The image at this position; UnreadableImage if it is damaged."""
    row = range(len(self))[row]
    id = self.ids[row]
    stored = self.rows[row][self.image] or {}
    data = stored.get("bytes")
    try:
      if data is None and stored.get("path"):
        with open(stored["path"], "rb") as file:
          data = file.read()
    except OSError as error:
      reason = error.strerror or str(error)
      raise decoding.UnreadableImage(id, reason) from error
    image = decoding.decode_image(data or b"", id=id, orient=self.orient)
    return types.Example(image=image, label=int(self.labels[row]), id=id)


def huggingface(
  dataset: Any = None,
  *,
  path: str | os.PathLike | None = None,
  name: str | None = None,
  split: str | None = None,
  image: str | None = None,
  label: str | None = None,
  orient: bool = True,
) -> HuggingFaceSource:
  """The images of a data set, with ids "SPLIT/ROW".

  Args:
    dataset: a `datasets.Dataset`, or a DatasetDict with `split`; or
    path: a directory that `save_to_disk` wrote; or
    name: what `load_dataset` knows, fetched once.
    split: of those that there are; needed where there are several.
    image: the image column; the only one there is by default.
    label: the column of classes (numbered or text); by default the only
      ClassLabel, or none: then every label is UNLABELED.
    orient: apply EXIF orientations (see decoding).

  Raises:
    ImportError: `datasets` is absent; names the extra.
    ValueError: not one of the three, or a split or column that is not there or
      must be chosen.
    FileNotFoundError: there is nothing at path.
  """
  datasets = _datasets()
  if sum(value is not None for value in (dataset, path, name)) != 1:
    raise ValueError("Give a dataset, or path=, or name=: one of them.")
  if path is not None:
    if not os.path.isdir(path):
      raise FileNotFoundError(f"There is no data set at {os.fspath(path)!r}.")
    dataset = datasets.load_from_disk(os.fspath(path))
  elif name is not None:
    dataset = datasets.load_dataset(name)
  rows, split = _of_split(dataset, split)
  kinds = rows.features
  image = _column(kinds, image, datasets.Image, "image")
  if label is None:
    numbered = [c for c in kinds if isinstance(kinds[c], datasets.ClassLabel)]
    label = numbered[0] if len(numbered) == 1 else None
  elif label not in kinds:
    raise ValueError(f"There is no column {label!r}, only {', '.join(kinds)}.")
  names, labels = _labels(rows, label, datasets)
  return HuggingFaceSource(
    rows=rows.cast_column(image, datasets.Image(decode=False)),
    image=image,
    labels=labels,
    ids=types.as_ids([f"{split}/{row}" for row in range(len(rows))]),
    class_names=names,
    orient=orient,
    fingerprint=image_source.digest(
      "huggingface", rows._fingerprint, image, label, orient
    ),
  )


def _of_split(dataset: Any, split: str | None) -> tuple[Any, str]:
  """The rows of a split, and its name."""
  if not hasattr(dataset, "keys"):
    own = str(dataset.split) if dataset.split is not None else "rows"
    if split is not None and split != own:
      raise ValueError(f"The data set is the split {own!r}, not {split!r}.")
    return dataset, own
  known = list(dataset.keys())
  if split is None and len(known) == 1:
    split = known[0]
  if split not in known:
    shown = image_source.known_names(known)
    raise ValueError(
      f"The data set has the splits {shown}: choose one with split=."
      if split is None
      else f"The data set has no split {split!r}; it has {shown}."
    )
  return dataset[split], split


def _column(kinds: Any, name: str | None, kind: type, what: str) -> str:
  """The column of a kind, by name or because there is only one."""
  found = [c for c in kinds if isinstance(kinds[c], kind)]
  if name is None and len(found) == 1:
    return found[0]
  if name not in found:
    raise ValueError(
      f"The {what} columns are {', '.join(map(repr, found)) or 'none'}: choose"
      f" one with {what}=."
    )
  return name


def _labels(
  rows: Any, label: str | None, datasets: Any
) -> tuple[tuple[str, ...], np.ndarray]:
  """Class names, and the label of every row."""
  if label is None:
    return (), np.full(len(rows), types.UNLABELED, np.int32)
  values = rows[label][:]
  kind = rows.features[label]
  if isinstance(kind, datasets.ClassLabel):
    known = [types.UNLABELED if v is None else v for v in values]
    return tuple(kind.names), np.array(known, np.int32)
  names = tuple(sorted({str(v) for v in values if v is not None}))
  position = {name: number for number, name in enumerate(names)}
  known = [types.UNLABELED if v is None else position[str(v)] for v in values]
  return names, np.array(known, np.int32)


def _datasets() -> Any:
  """The package, when it is needed."""
  try:
    import datasets
  except ImportError as error:
    raise ImportError(_NEEDS) from error
  return datasets
