"""TensorFlow Datasets prepared as ArrayRecord, read without TensorFlow.

    source = tfds("imagenet2012", split="train", data_dir="/data/tfds")

Prepare a dataset once, on a machine with TensorFlow:
`tfds build NAME --file_format=array_record`.
"""

import dataclasses
import os
from functools import cached_property
from typing import Any, SupportsIndex

import numpy as np

from visual_memory import types
from visual_memory.data import decoding, image_source

ID_FEATURES = ("file_name", "filename", "image/filename", "image_id", "id")
"""Features that identify an example, the first present one is used."""

SCAN_ROWS = 256
"""Records read at once when labels and ids are collected."""


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class TfdsSource(image_source.Described):
  """Examples of a prepared dataset. Build one with `tfds`.

  The first use of `labels` or `ids` reads every record once (ArrayRecord keeps
  an example's fields together), without decoding a pixel.

  Attributes:
    records: the TFDS data source, images left encoded.
    name: dataset, configuration and version.
    split: as TFDS writes it, such as "train" or "train[:10%]".
    image_feature: name of the image.
    label_feature: name of the label, or None: every label is UNLABELED.
    id_feature: name of the identity, or None: name, split and position.
    class_names: from the label's metadata.
    fingerprint: hash of the dataset's name, sizes and the options.
  """

  records: Any
  name: str
  split: str
  image_feature: str
  label_feature: str | None
  id_feature: str | None
  class_names: tuple[str, ...]
  fingerprint: str

  def __len__(self) -> int:
    """The number of examples."""
    return len(self.records)

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """The example at this position; UnreadableImage if it is damaged."""
    row = range(len(self))[row]
    record = self.records[row]
    id = self._id(record, row)
    return types.Example(
      image=decoding.decode_image(record[self.image_feature], id=id),
      label=self._label(record),
      id=id,
    )

  @cached_property
  def labels(self) -> np.ndarray:
    """int32 [N]."""
    return self._scan[0]

  @cached_property
  def ids(self) -> np.ndarray:
    """Unique strings, [N]."""
    return self._scan[1]

  @cached_property
  def _scan(self) -> tuple[np.ndarray, np.ndarray]:
    """Labels and ids, from one pass over the records."""
    labels = np.empty(len(self), np.int32)
    ids = np.empty(len(self), object)
    for first in range(0, len(self), SCAN_ROWS):
      rows = list(range(first, min(first + SCAN_ROWS, len(self))))
      records = self.records.__getitems__(rows)
      for row, record in zip(rows, records, strict=True):
        labels[row], ids[row] = self._label(record), self._id(record, row)
    types.check_unique(ids)
    return labels, ids

  def _label(self, record: dict) -> int:
    """The label of a record."""
    if self.label_feature is None:
      return types.UNLABELED
    return int(record[self.label_feature])

  def _id(self, record: dict, row: int) -> str:
    """The id of a record."""
    if self.id_feature is None:
      return f"{self.name}/{self.split}/{row}"
    value = record[self.id_feature]
    return value.decode() if isinstance(value, bytes) else str(value)


def tfds(
  dataset: str,
  *,
  split: str,
  data_dir: str | os.PathLike | None = None,
  label_feature: str = "",
  id_feature: str = "",
) -> TfdsSource:
  """A split of a dataset that TFDS has prepared as ArrayRecord.

  Args:
    dataset: its name as TFDS writes it, such as "mnist" or
      "imagenet_v2/matched-frequency:3.0.0".
    split: "train", "test[:50%]", ...
    data_dir: where datasets are prepared; TFDS's default if None.
    label_feature: the class label to use; needed where there are several and
      none is called "label" or supervised.
    id_feature: the feature that identifies an example; by default the first
      of ID_FEATURES that is there. Without one, the id is made of name, split
      and position.

  Raises:
    ValueError: not prepared there as ArrayRecord, no such split or feature,
      no image, or several label features to choose from.
    ImportError: TFDS is not installed.
  """
  try:
    import tensorflow_datasets
  except ImportError as error:
    raise ImportError(
      "Reading TFDS datasets needs: pip install 'visual_memory[data]'."
    ) from error

  def open_records(**options):
    try:
      return tensorflow_datasets.data_source(
        dataset, split=split, data_dir=data_dir, download=False, **options
      )
    except (
      AssertionError,  # TFDS's "not found in data_dir"
      NotImplementedError,  # prepared as TFRecord
      OSError,
      ValueError,
    ) as error:
      where = data_dir or "TFDS's default folder"
      raise ValueError(
        f"The TFDS dataset {dataset!r}, split {split!r}, cannot be read from"
        f" {os.fspath(where)!r}: {_first_line(error)} Prepare it with `tfds"
        f" build {dataset} --file_format=array_record`."
      ) from error

  info = open_records().dataset_info
  image = _image_feature(info, tensorflow_datasets)
  label = _label_feature(info, label_feature, tensorflow_datasets)
  skip = tensorflow_datasets.decode.SkipDecoding()
  return TfdsSource(
    records=open_records(decoders={image: skip}),
    name=info.full_name,
    split=split,
    image_feature=image,
    label_feature=label,
    id_feature=_id_feature(info, id_feature),
    class_names=tuple(info.features[label].names) if label else (),
    fingerprint=image_source.digest(
      "tfds",
      info.full_name,
      split,
      {
        key: [list(value.shard_lengths), int(value.num_bytes)]
        for key, value in info.splits.items()
      },
      label,
      id_feature,
    ),
  )


def _first_line(error: Exception) -> str:
  """The first line of an error, as a sentence."""
  lines = str(error).strip().splitlines() or [type(error).__name__]
  return lines[0].rstrip(".") + "."


def _image_feature(info: Any, tensorflow_datasets: Any) -> str:
  """The name of the one image feature."""
  images = [
    name
    for name, feature in info.features.items()
    if isinstance(feature, tensorflow_datasets.features.Image)
  ]
  if "image" in images:
    return "image"
  if len(images) == 1:
    return images[0]
  raise ValueError(
    f"{info.full_name} has {len(images)} image features"
    f" ({image_source.known_names(images) or 'none'}); one is needed."
  )


def _label_feature(
  info: Any, wanted: str, tensorflow_datasets: Any
) -> str | None:
  """The name of the label feature, or None if there is no class label."""
  labels = [
    name
    for name, feature in info.features.items()
    if isinstance(feature, tensorflow_datasets.features.ClassLabel)
  ]
  if wanted and wanted not in labels:
    raise ValueError(
      f"{info.full_name} has no class label {wanted!r}; it has"
      f" {image_source.known_names(labels) or 'none'}."
    )
  supervised = [key for key in info.supervised_keys or () if key in labels]
  for name in (wanted, "label", *supervised):
    if name in labels:
      return name
  if len(labels) > 1:
    raise ValueError(
      f"{info.full_name} has several class labels"
      f" ({image_source.known_names(labels)}): choose one with label_feature=."
    )
  return labels[0] if labels else None


def _id_feature(info: Any, wanted: str) -> str | None:
  """The name of the identifying feature, or None if there is none."""
  if wanted and wanted not in info.features:
    raise ValueError(
      f"{info.full_name} has no feature {wanted!r}; it has"
      f" {image_source.known_names(sorted(info.features))}."
    )
  known = [name for name in (wanted, *ID_FEATURES) if name in info.features]
  return known[0] if known else None
