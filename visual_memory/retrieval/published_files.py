"""The neighbor files of the visual-memory paper: JSON, streamed in and out.

  records = read_published("in.json")
  write_published("out.json", records)

One object holds everything, {image_id: {featurizer, image_id, image_class,
neighbor_image_ids, neighbor_classes, neighbor_distances}}, up to several GB.
Reading holds one image's entry at a time, and 8 bytes for each neighbor (12
where distances need float64) in a temporary file. Writing gives back what was
read: the same entries in the same order, every distance to the last bit.

Reference: `nearest_neighbor_evaluation.ipynb` (the writer) and
`main_analysis_plots.ipynb` (the reader) of the visual-memory repository.
"""

import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from visual_memory import files
from visual_memory.checks import shown
from visual_memory.retrieval.neighbor_records import (
  NeighborRecords,
  neighbor_records,
)
from visual_memory.retrieval.record_checks import FARTHEST
from visual_memory.types import UNLABELED, Ids

_FIELDS = (
  "featurizer", "image_id", "image_class", "neighbor_image_ids",
  "neighbor_classes", "neighbor_distances",
)  # fmt: skip
_CHUNK = 256
_MOST_CLASSES = 1 << 20
"""A label beyond it is no class: its names alone would fill the memory."""


@dataclasses.dataclass
class _Columns:
  """What has been read so far; neighbors go to temporary files by chunks."""

  folder: str
  known: bool
  position_of: dict[str, int]
  row_labels: list[int]
  query_ids: list[str] = dataclasses.field(default_factory=list)
  classes: list[Any] = dataclasses.field(default_factory=list)
  featurizer: str | None = None
  k: int = 0
  dtype: type = np.float32
  pending: list[tuple] = dataclasses.field(default_factory=list)


def read_published(
  path: str | os.PathLike,
  *,
  row_ids: Ids | None = None,
  class_names: Sequence[str] | None = None,
) -> NeighborRecords:
  """The records of a published file.

  Args:
    path: the JSON file.
    row_ids: the memory's ids, which the records then have in this order; by
      default the rows that occur, in order of appearance.
    class_names: names of the classes; by default their numbers.

  Raises:
    FileNotFoundError: there is no such file.
    ImportError: ijson is absent; names the extra.
    ValueError: a file that is cut off or no such JSON, an image that occurs
      twice, neighbors out of order, unknown to the memory, of two classes or
      not as many as elsewhere; names the image.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise FileNotFoundError(f"There is no neighbor file at {str(path)!r}.")
  given = () if row_ids is None else tuple(row_ids)
  with tempfile.TemporaryDirectory(prefix="neighbors") as folder:
    columns = _Columns(
      folder=folder,
      known=row_ids is not None,
      position_of={value: row for row, value in enumerate(given)},
      row_labels=[UNLABELED] * len(given),
    )
    try:
      for image_id, entry in _entries(path):
        _take(columns, image_id, entry)
    except ValueError as error:
      raise ValueError(f"{str(path)!r}: {error}") from error
    if not columns.query_ids:
      raise ValueError(f"{str(path)!r} holds no image.")
    _flush(columns)
    return _finish(columns, class_names)


def _entries(path: pathlib.Path) -> Iterator[tuple[str, dict]]:
  """The entries of the object in a file, one after the other."""
  try:
    import ijson
  except ImportError as error:
    raise ImportError(
      "Reading published neighbor files needs: pip install"
      " 'visual_memory[data]'."
    ) from error
  with open(path, "rb") as file:
    try:
      yield from ijson.kvitems(file, "", use_float=True)
    except ijson.IncompleteJSONError as error:
      raise ValueError("the file is cut off; download it again.") from error
    except ijson.JSONError as error:
      raise ValueError(f"this is no neighbor JSON ({error}).") from error


def _take(columns: _Columns, image_id: str, entry: Any) -> None:
  """Adds one image's entry."""
  _check_entry(columns, image_id, entry)
  ids, classes = entry["neighbor_image_ids"], entry["neighbor_classes"]
  positions = columns.position_of
  for neighbor, label in zip(ids, classes, strict=True):
    position = positions.get(neighbor)
    if position is None:
      if columns.known:
        raise ValueError(
          f"image {shown(image_id)}: its neighbor {shown(neighbor)} is not in"
          " the memory; the file belongs to another one."
        )
      positions[neighbor] = len(positions)
      columns.row_labels.append(label)
    elif columns.row_labels[position] != label:
      if columns.row_labels[position] != UNLABELED:
        raise ValueError(
          f"image {shown(image_id)}: its neighbor {shown(neighbor)} has class"
          f" {label}, elsewhere {columns.row_labels[position]}."
        )
      columns.row_labels[position] = label
  columns.query_ids.append(image_id)
  columns.classes.append(entry["image_class"])
  columns.pending.append(
    ([positions[neighbor] for neighbor in ids], entry["neighbor_distances"])
  )
  if len(columns.pending) == _CHUNK:
    _flush(columns)


def _check_entry(columns: _Columns, image_id: str, entry: Any) -> None:
  """Raises ValueError unless an entry is whole and like the others."""
  missing = [name for name in _FIELDS if name not in entry] if isinstance(
    entry, dict
  ) else _FIELDS  # fmt: skip
  if missing:
    raise ValueError(f"image {shown(image_id)} has no {missing[0]}.")
  if entry["image_id"] != image_id:
    raise ValueError(
      f"image {shown(image_id)} is called {shown(entry['image_id'])}."
    )
  columns.featurizer = columns.featurizer or entry["featurizer"]
  if entry["featurizer"] != columns.featurizer:
    raise ValueError(
      f"image {shown(image_id)} was embedded by {shown(entry['featurizer'])},"
      f" others by {shown(columns.featurizer)}."
    )
  _check_types(image_id, entry)
  distances = entry["neighbor_distances"]
  columns.k = columns.k or len(distances)
  lengths = {len(entry[name]) for name in _FIELDS[3:]}
  if lengths != {columns.k}:
    raise ValueError(
      f"image {shown(image_id)} has {sorted(lengths)} neighbors, others have"
      f" {columns.k}."
    )
  for rank in range(1, columns.k):
    if not distances[rank - 1] <= distances[rank]:
      raise ValueError(
        f"the neighbors of image {shown(image_id)} are not in order: distance"
        f" {distances[rank - 1]} and then {distances[rank]}."
      )


def _check_types(image_id: str, entry: dict) -> None:
  """Raises ValueError unless every part of an entry is of its own kind."""
  is_label = lambda x: type(x) is int and UNLABELED <= x < _MOST_CLASSES
  is_distance = lambda x: type(x) in (int, float) and abs(x) < FARTHEST
  own = entry["image_class"]
  rules = (
    ("neighbor_image_ids", lambda x: isinstance(x, str), "a text"),
    ("neighbor_classes", is_label, "a class"),
    ("neighbor_distances", is_distance, "a distance"),
  )
  if not isinstance(entry["featurizer"], str):
    raise ValueError(f"image {shown(image_id)}: its featurizer is no text.")
  if not all(map(is_label, own if isinstance(own, list) else [own])):
    raise ValueError(f"image {shown(image_id)}: {shown(own)} is no class.")
  for name, rule, what in rules:
    values = entry[name]
    if not isinstance(values, list):
      raise ValueError(f"image {shown(image_id)}: its {name} are no list.")
    if not all(map(rule, values)):
      wrong = next(x for x in values if not rule(x))
      raise ValueError(
        f"image {shown(image_id)}: {shown(wrong)} in its {name} is not {what}."
      )


def _flush(columns: _Columns) -> None:
  """Moves what is pending to the temporary files."""
  if not columns.pending:
    return
  positions, distances = zip(*columns.pending, strict=True)
  distances = np.array(distances, np.float64)
  if (
    columns.dtype is np.float32
    and (distances != distances.astype(np.float32)).any()
  ):
    columns.dtype = np.float64
  for name, values in (
    ("positions", np.array(positions, np.int32)),
    ("distances", distances),
  ):
    with open(os.path.join(columns.folder, name), "ab") as file:
      file.write(values.tobytes())
  columns.pending.clear()


def _finish(columns: _Columns, class_names) -> NeighborRecords:
  """The records; distances as float32 if that holds every one of them."""
  shape = (len(columns.query_ids), columns.k)
  at = lambda name: os.path.join(columns.folder, name)
  distances = np.memmap(at("distances"), np.float64, mode="r", shape=shape)
  sets = None
  labels = columns.classes
  if any(isinstance(label, list) for label in labels):
    sets = [x if isinstance(x, list) else [x] for x in labels]
    labels = [x[0] if len(x) == 1 else UNLABELED for x in sets]
  most = max(
    [*columns.row_labels, *labels, *(x for s in sets or () for x in s)]
  )
  if class_names is None:
    class_names = [str(label) for label in range(most + 1)]
  return neighbor_records(
    np.fromfile(at("positions"), np.int32).reshape(shape),
    distances.astype(columns.dtype),
    kind="distances",
    query_ids=columns.query_ids,
    query_labels=labels,
    label_sets=sets,
    row_ids=list(columns.position_of),
    row_labels=columns.row_labels,
    class_names=class_names,
    featurizer=columns.featurizer,
  )


def write_published(path: str | os.PathLike, records: NeighborRecords) -> None:
  """Writes records as the published JSON; it appears whole or not at all."""
  names = [json.dumps(str(value)) for value in records.row_ids]
  sets, all_distances = records.label_sets, records.distances
  with files.replacing(path) as partial, open(partial, "w") as file:
    file.write("{")
    for query, positions in enumerate(records.positions.tolist()):
      classes = sets[query] if sets else int(records.query_labels[query])
      image_id = json.dumps(str(records.query_ids[query]))
      neighbors = ", ".join(names[position] for position in positions)
      distances = np.asarray(all_distances[query], np.float64).tolist()
      file.write(
        f"{', ' if query else ''}{image_id}: "
        f'{{"featurizer": {json.dumps(records.featurizer)}, '
        f'"image_id": {image_id}, "image_class": {json.dumps(classes)}, '
        f'"neighbor_image_ids": [{neighbors}], '
        f'"neighbor_classes": {records.row_labels[positions].tolist()}, '
        f'"neighbor_distances": {json.dumps(distances)}}}'
      )
    file.write("}")
