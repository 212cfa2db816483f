"""A dynamic memory: what a network keeps of the queries that it has seen.

  memory = empty_memory(num_classes=10, num_slots=50, dim=512, keep_log=True)
  memory, cosines = stream(memory, queries, labels, entropies, ids=ids, ...)
  memory = forget(memory, ["photo/3.jpg"])       # as if it had never come
  save(memory, "dynamic.npz")

At most C x L embeddings are kept, whatever the length of the stream. A memory
with a log also keeps every item that came by, which exact forgetting needs: an
item that is taken out may make room for another that found none.

Reference: Zhang et al., "Dual Memory Networks" (CVPR 2024), section 3.2.
"""

import dataclasses
import os
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float32, Int, Int32

from visual_memory import files
from visual_memory.dual_memory import lifetimes
from visual_memory.dual_memory.lifetimes import Book
from visual_memory.types import Ids, as_ids, check_unique, check_unit_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Log:
  """Every item that a memory was shown, in order; host arrays.

  Attributes:
    ids: unique strings, [n].
    embeddings: unit rows, [n, D].
    labels: pseudo-labels, [n].
    entropies: of these, [n].
  """

  ids: np.ndarray
  embeddings: Float32[np.ndarray, "n D"]
  labels: Int32[np.ndarray, "n"]
  entropies: Float32[np.ndarray, "n"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynamicMemory:
  """The state of a dynamic memory; host arrays.

  Attributes:
    embeddings: the embedding in each slot, zero where empty, [C, L, D].
    book: which item that is, its entropy, and how many slots are in use.
    log: all items that came by; None if they are not kept.
  """

  embeddings: Float32[np.ndarray, "C L D"]
  book: Book
  log: Log | None

  @property
  def nbytes(self) -> int:
    """Bytes of the state, without the log."""
    leaves = jax.tree.leaves(self.book)
    return self.embeddings.nbytes + sum(np.asarray(x).nbytes for x in leaves)


def empty_memory(
  *, num_classes: int, num_slots: int, dim: int, keep_log: bool
) -> DynamicMemory:
  """A memory before its first item.

  Raises:
    ValueError: no class or no slot.
  """
  log = Log(
    ids=np.empty(0, object),
    embeddings=np.zeros((0, dim), np.float32),
    labels=np.zeros(0, np.int32),
    entropies=np.zeros(0, np.float32),
  )
  return DynamicMemory(
    book=lifetimes.empty_book(num_classes=num_classes, num_slots=num_slots),
    embeddings=np.zeros((num_classes, num_slots, dim), np.float32),
    log=log if keep_log else None,
  )


def after(
  memory: DynamicMemory,
  embeddings: Float32[np.ndarray, "n D"],
  labels: Int32[np.ndarray, "n"],
  *,
  entropies: Float32[np.ndarray, "n"],
  ids: Ids | None,
  book: Book,
) -> DynamicMemory:
  """The memory after items whose schedule ended in this book."""
  start = int(memory.book.time)
  items = np.asarray(book.items)
  kept = memory.embeddings.copy()
  new = items >= start
  kept[new] = embeddings[items[new] - start]
  log = memory.log
  if log is not None:
    log = Log(
      ids=np.concatenate([log.ids, as_ids(ids)]),
      embeddings=np.concatenate([log.embeddings, embeddings]),
      labels=np.concatenate([log.labels, labels]),
      entropies=np.concatenate([log.entropies, entropies]),
    )
  return DynamicMemory(embeddings=kept, book=book, log=log)


def replay(memory: DynamicMemory) -> DynamicMemory:
  """The memory that its log makes from nothing."""
  log, (num_classes, num_slots, dim) = memory.log, memory.embeddings.shape
  empty = empty_memory(
    num_classes=num_classes, num_slots=num_slots, dim=dim, keep_log=True
  )
  lives = lifetimes.schedule(log.labels, log.entropies, book=empty.book)
  return after(
    empty,
    log.embeddings,
    log.labels,
    entropies=log.entropies,
    ids=log.ids,
    book=lives.book,
  )


def forget(memory: DynamicMemory, ids: Sequence[str]) -> DynamicMemory:
  """The memory that never saw these items: the rest of its log, replayed.

  Raises:
    ValueError: the memory has no log, or never saw one of the ids.
  """
  if memory.log is None:
    raise ValueError(
      "This dynamic memory kept no log, so nothing can be taken out of it"
      " exactly: make it with keep_log=True, or start it again."
    )
  known = set(memory.log.ids)
  for value in ids:
    if value not in known:
      raise ValueError(f"The dynamic memory was never shown {value!r}.")
  gone = set(ids)
  stay = np.array([value not in gone for value in memory.log.ids], bool)
  log = Log(**{name: value[stay] for name, value in vars(memory.log).items()})
  return replay(dataclasses.replace(memory, log=log))


def check_items(
  memory: DynamicMemory,
  embeddings: np.ndarray,
  labels: Int[np.ndarray, "n"],
  entropies: np.ndarray,
  ids: Ids | None,
) -> None:
  """Raises ValueError for items that the memory cannot take; names the first.

  Embeddings must be unit rows of its dimension, labels its classes, entropies
  finite, and ids (which a log needs) new.
  """
  num_classes, _, dim = memory.embeddings.shape
  if embeddings.ndim != 2 or embeddings.shape[1] != dim:
    raise ValueError(
      f"Items must be [n, {dim}] for this memory; got {embeddings.shape}."
    )
  count = len(embeddings)
  if not count == len(labels) == len(entropies):
    raise ValueError(
      f"{count} items, {len(labels)} labels and {len(entropies)} entropies:"
      " one of each is needed."
    )
  names = names_of(count, ids)
  check_unit_rows(embeddings, names)
  bad = (labels < 0) | (labels >= num_classes) | ~np.isfinite(entropies)
  if bad.any():
    row = int(np.argmax(bad))
    raise ValueError(
      f"Item {names[row]!r} has label {labels[row]} and entropy"
      f" {entropies[row]}: a label from 0 to {num_classes - 1} and a finite"
      " entropy are needed."
    )
  if memory.log is not None:
    if ids is None or len(ids) != count:
      raise ValueError("A dynamic memory with a log needs an id for each item.")
    check_unique(np.concatenate([memory.log.ids, as_ids(ids)]))


def names_of(count: int, ids: Ids | None) -> np.ndarray:
  """The ids, or the positions where there are none, for messages."""
  return as_ids([*map(str, range(count))] if ids is None else ids)


def save(memory: DynamicMemory, path: str | os.PathLike) -> None:
  """Writes the memory as .npz: whole, or not at all."""
  arrays = {
    "embeddings": memory.embeddings,
    **{f"book_{name}": value for name, value in vars(memory.book).items()},
  }
  if memory.log is not None:
    log = vars(memory.log) | {"ids": memory.log.ids.astype(str)}
    arrays |= {f"log_{name}": value for name, value in log.items()}
  with files.replacing(path) as partial, open(partial, "wb") as file:
    np.savez(file, **arrays)


def load(path: str | os.PathLike) -> DynamicMemory:
  """The memory that `save` wrote.

  Raises:
    ValueError: the file holds something else.
  """
  parts = files.read_arrays(path)
  try:
    book = Book(
      **{name: parts[f"book_{name}"] for name in ("items", "entropies",
         "counts")}, time=int(parts["book_time"]),
    )  # fmt: skip
    log = None
    if "log_ids" in parts:
      names = ("embeddings", "labels", "entropies")
      log = Log(
        ids=as_ids([str(value) for value in parts["log_ids"]]),
        **{name: parts[f"log_{name}"] for name in names},
      )
    return DynamicMemory(embeddings=parts["embeddings"], book=book, log=log)
  except KeyError as error:
    raise ValueError(f"{path} holds no dynamic memory: no {error}.") from error
