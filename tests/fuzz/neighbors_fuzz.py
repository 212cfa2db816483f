"""Neighbor files of all three forms: cached ones, records, published JSON."""

import copy
import functools
import io
import json
import pathlib
import random
import tempfile

import fuzzing
import numpy as np

from visual_memory.retrieval import (
  neighbor_files,
  neighbor_records,
  published_files,
)
from visual_memory.types import Neighbors

_QUERIES, _ROWS, _K, _CLASSES = 6, 15, 5, 3
ROW_IDS = np.array([f"r{i}" for i in range(_ROWS)], object)


def check(seed: int, folder: pathlib.Path) -> str:
  """One file of one of the forms."""
  rng = fuzzing.random_of(seed)
  return rng.choice([_cached, _records, _published])(rng, folder)


def _cached(rng: random.Random, folder: pathlib.Path) -> str:
  path = folder / "near.npz"
  path.write_bytes(_mutated_arrays(sound_files()[0], rng))
  try:
    near = neighbor_files.load_neighbors(path, ROW_IDS)
  except ValueError as error:
    return fuzzing.assert_clear(error)
  _assert_sound(near, ROW_IDS, num_classes=None)
  return "read"


def _records(rng: random.Random, folder: pathlib.Path) -> str:
  path = folder / "records.npz"
  path.write_bytes(_mutated_arrays(sound_files()[rng.choice([1, 2])], rng))
  try:
    records = neighbor_records.load_records(path)
  except ValueError as error:
    return fuzzing.assert_clear(error)
  return _use(records, folder)


def _published(rng: random.Random, folder: pathlib.Path) -> str:
  path = folder / "near.json"
  data = sound_files()[3]
  if rng.random() < 0.3:
    data = fuzzing.mutated(data, rng)
  else:
    content = json.loads(data)
    for _ in range(rng.choice([1, 1, 2])):
      content = fuzzing.mutated_json(content, rng)
    data = json.dumps(content).encode()
  path.write_bytes(data)
  given = ROW_IDS if rng.random() < 0.3 else None
  try:
    records = published_files.read_published(path, row_ids=given)
  except ValueError as error:
    return fuzzing.assert_clear(error)
  return _use(records, folder)


def _use(records: neighbor_records.NeighborRecords, folder) -> str:
  """What was accepted must be sound, and survive both forms."""
  num_classes = len(records.class_names)
  _assert_sound(records.near, records.row_ids, num_classes=num_classes)
  assert records.query_labels.min(initial=0) >= -1
  for labels in records.label_sets or ():
    assert all(0 <= label < num_classes for label in labels), labels
  neighbor_records.save_records(folder / "again.npz", records)
  again = neighbor_records.load_records(folder / "again.npz")
  np.testing.assert_array_equal(again.near.ids, records.near.ids)
  assert again.label_sets == records.label_sets
  assert again.class_names == records.class_names
  published_files.write_published(folder / "again.json", again)
  names = {"row_ids": records.row_ids, "class_names": records.class_names}
  third = published_files.read_published(folder / "again.json", **names)
  np.testing.assert_array_equal(third.near.ids, records.near.ids)
  return "read"


def _assert_sound(near: Neighbors, row_ids, *, num_classes) -> None:
  """Every promise of Neighbors."""
  near.check_rows(row_ids)
  assert near.indices.dtype == near.labels.dtype == np.int32
  assert near.similarities.dtype.kind == "f"
  assert np.isfinite(near.similarities).all()
  assert (np.diff(near.similarities, axis=1) <= 0).all()
  assert near.labels.min(initial=0) >= -1
  assert num_classes is None or near.labels.max(initial=-1) < num_classes


def _mutated_arrays(data: bytes, rng: random.Random) -> bytes:
  """A .npz with bytes changed, or some of its arrays."""
  if rng.random() < 0.3:
    return fuzzing.mutated(data, rng)
  with np.load(io.BytesIO(data)) as arrays:
    content = dict(arrays)
  for _ in range(rng.choice([1, 1, 2])):
    name = rng.choice(list(content))
    kind = rng.randrange(6)
    if kind == 0:
      del content[name]
    elif kind == 1:
      content[name] = np.array(rng.choice(_STRANGE))
    elif kind == 2:
      numbers = ["f4", "i8", "u1"] if content[name].dtype.kind != "U" else []
      content[name] = content[name].astype(rng.choice([*numbers, "U9"]))
    elif kind == 3:
      content[name] = content[name].reshape(-1)[: rng.randrange(9)]
    elif kind == 4:
      content[rng.choice(list(content))] = content[name]
    elif content[name].size and content[name].dtype.kind in "iuf":
      values = np.array(content[name])
      spot = rng.randrange(values.size)
      number = rng.choice([-1, 0, 1, 3, 15, 200, 2**30])
      if values.dtype.kind == "f":
        number = rng.choice([np.nan, np.inf, -np.inf, 2.0, -1e30])
      values.reshape(-1)[spot] = np.array(number).astype(values.dtype)
      content[name] = values
  file = io.BytesIO()
  np.savez(file, **copy.copy(content))
  return file.getvalue()


_STRANGE = (0, -1, 2**40, np.nan, "", "x", True, [], [0, 1], [[1.5]], [""])


@functools.cache
def sound_files() -> tuple[bytes, bytes, bytes, bytes]:
  """A cached file, records with and without label sets, published JSON."""
  rng = np.random.default_rng(0)
  positions = np.stack([rng.permutation(_ROWS)[:_K] for _ in range(_QUERIES)])
  similarities = -np.sort(-rng.random((_QUERIES, _K), np.float32), axis=1)
  row_labels = (np.arange(_ROWS) % _CLASSES).astype(np.int32)
  near = Neighbors(
    ids=ROW_IDS[positions],
    indices=positions.astype(np.int32),
    labels=row_labels[positions],
    similarities=similarities,
  )
  records = functools.partial(
    neighbor_records.neighbor_records,
    near.indices,
    query_ids=[f"q{i}" for i in range(_QUERIES)],
    query_labels=np.arange(_QUERIES, dtype=np.int32) % _CLASSES,
    row_ids=ROW_IDS,
    row_labels=row_labels,
    class_names=[str(i) for i in range(_CLASSES)],
    featurizer="encoder",
  )
  by_similarity = records(similarities, kind="similarities")
  by_distance = records(
    1 - similarities.astype(np.float64),
    kind="distances",
    label_sets=[[0], [], [1, 2], [2], [0, 1], [1]],
  )
  with tempfile.TemporaryDirectory() as name:
    path = pathlib.Path(name)
    neighbor_files.save_neighbors(path / "a", near, ROW_IDS)
    neighbor_records.save_records(path / "b", by_similarity)
    neighbor_records.save_records(path / "c", by_distance)
    published_files.write_published(path / "d", by_distance)
    return tuple((path / letter).read_bytes() for letter in "abcd")
