"""Stores of labelled embeddings that can be edited, behind one interface.

Making one creates the store. An edit is over when it is durable, as far as the
store can tell.
"""

import datetime
import os
import pathlib
import shutil

import numpy as np

from visual_memory.store.store import Store
from visual_memory.types import EmbeddedSet


class VisualMemoryStore:
  """Ours."""

  def __init__(self, path: pathlib.Path, embedded: EmbeddedSet):
    """Creates the store."""
    self._store = Store.create(path, embedded)

  def warm_up(self) -> None:
    """Reads the ids, as the first edit would."""
    len(self._store.ids)

  def add(self, embedded: EmbeddedSet) -> None:
    """Adds rows."""
    self._store.add(embedded)

  def remove(self, ids: list[str]) -> None:
    """Removes rows, for real."""
    self._store.remove(ids)

  def remove_class(self, label: int) -> None:
    """Removes the rows of a class, for real."""
    self._store.remove(label=label)

  def read(self) -> np.ndarray:
    """Everything, as a memory on the devices; the embeddings' array."""
    return self._store.load().rows.embeddings.block_until_ready()


class Npz:
  """One uncompressed .npz file, rewritten whole by every edit."""

  def __init__(self, path: pathlib.Path, embedded: EmbeddedSet):
    """Writes the file."""
    path.mkdir()
    self._path = path / "rows.npz"
    self._write(
      np.array(embedded.ids, str), embedded.labels, embedded.embeddings
    )

  def warm_up(self) -> None:
    """Nothing to do."""

  def add(self, embedded: EmbeddedSet) -> None:
    """Reads everything and writes it with the new rows."""
    ids, labels, embeddings = self._load()
    self._write(
      np.concatenate([ids, np.array(embedded.ids, str)]),
      np.concatenate([labels, embedded.labels]),
      np.concatenate([embeddings, embedded.embeddings]),
    )

  def remove(self, ids: list[str]) -> None:
    """Reads everything and writes what is left."""
    held, labels, embeddings = self._load()
    keep = ~np.isin(held, ids)
    self._write(held[keep], labels[keep], embeddings[keep])

  def remove_class(self, label: int) -> None:
    """Reads everything and writes what is left."""
    ids, labels, embeddings = self._load()
    keep = labels != label
    self._write(ids[keep], labels[keep], embeddings[keep])

  def read(self) -> np.ndarray:
    """Everything; the embeddings."""
    return self._load()[2]

  def _load(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(self._path) as arrays:
      return arrays["ids"], arrays["labels"], arrays["embeddings"]

  def _write(self, ids, labels, embeddings) -> None:
    new = self._path.with_suffix(".new")
    with open(new, "wb") as file:
      np.savez(file, ids=ids, labels=labels, embeddings=embeddings)
      file.flush()
      os.fsync(file.fileno())
    os.replace(new, self._path)


class LanceDb:
  """LanceDB: a deletion writes a list of dead rows; old versions stay.

  `optimize` with no age limit is what makes the bytes of removed rows go; it
  is part of a removal here, since removal for real is what is compared.
  """

  def __init__(self, path: pathlib.Path, embedded: EmbeddedSet):
    """Creates the table, with an index on the id."""
    import lancedb

    self._table = lancedb.connect(path).create_table(
      "rows", self._arrow(embedded)
    )
    self._table.create_scalar_index("id")

  def warm_up(self) -> None:
    """Nothing to do."""

  def add(self, embedded: EmbeddedSet) -> None:
    """Adds rows."""
    self._table.add(self._arrow(embedded))

  def remove(self, ids: list[str]) -> None:
    """Removes rows and the old versions that hold them."""
    self._remove("id IN (" + ", ".join(f"'{i}'" for i in ids) + ")")

  def remove_class(self, label: int) -> None:
    """Removes rows and the old versions that hold them."""
    self._remove(f"label = {label}")

  def read(self) -> np.ndarray:
    """Everything; the embeddings."""
    column = self._table.to_arrow()["vector"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)

  def _remove(self, predicate: str) -> None:
    self._table.delete(predicate)
    self._table.optimize(
      cleanup_older_than=datetime.timedelta(0), delete_unverified=True
    )

  def _arrow(self, embedded: EmbeddedSet):
    import pyarrow

    vectors = pyarrow.FixedSizeListArray.from_arrays(
      embedded.embeddings.ravel(), embedded.embeddings.shape[1]
    )
    return pyarrow.table(
      {
        "id": pyarrow.array(embedded.ids.tolist()),
        "label": pyarrow.array(embedded.labels),
        "vector": vectors,
      }
    )


PEERS = {"visual_memory": VisualMemoryStore, "npz": Npz, "lancedb": LanceDb}


def num_bytes(path: pathlib.Path) -> int:
  """Bytes of all files under a directory."""
  return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


def holds(path: pathlib.Path, needle: bytes) -> bool:
  """Whether these bytes are in any file under a directory."""
  for file in path.rglob("*"):
    if file.is_file() and needle in file.read_bytes():
      return True
  return False


def discard(path: pathlib.Path) -> None:
  """Deletes a peer's files."""
  shutil.rmtree(path, ignore_errors=True)
