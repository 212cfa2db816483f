"""Which items a dynamic memory holds, and from when to when.

  lives = schedule(labels, entropies, book=empty_book(num_classes=10, slots=50))
  lives.slots[t]      # where item t was written; -1 if it was not
  lives.deaths[t]     # the item whose write replaced it; NEVER if none did

Whether an item is written depends on its pseudo-label and entropy alone, never
on what a query reads. So the whole history of a stream is known from N integers
and N floats before a single embedding is touched.

Reference: Zhang et al., "Dual Memory Networks" (CVPR 2024), section 3.2. An
item of class c takes the next empty slot of c; once all L are full it replaces
the one of highest entropy (the first of these) if its own is strictly lower.
"""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int32

EMPTY = -1
"""The item of a slot that holds none."""

NEVER = np.iinfo(np.int32).max
"""The death of an item that is still there."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Book:
  """What is in which slot, without the embeddings.

  Attributes:
    items: number of the item in each slot; EMPTY if none, [C, L].
    entropies: of these items; -inf in empty slots, [C, L].
    counts: slots in use of each class, from the first on, [C].
    time: how many items came by so far.
  """

  items: Int32[jax.Array | np.ndarray, "C L"]
  entropies: Float32[jax.Array | np.ndarray, "C L"]
  counts: Int32[jax.Array | np.ndarray, "C"]
  time: int | jax.Array | np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lives:
  """What happened to each of n items of a stream; host arrays.

  Attributes:
    slots: where the item was written; -1 if it was not, [n].
    deaths: number of the item that replaced it; NEVER if none did, [n].
    evicted: number of the item that it replaced; EMPTY if none, [n].
    book: the state afterwards.
  """

  slots: Int32[np.ndarray, "n"]
  deaths: Int32[np.ndarray, "n"]
  evicted: Int32[np.ndarray, "n"]
  book: Book


def empty_book(*, num_classes: int, num_slots: int) -> Book:
  """A memory before its first item.

  Raises:
    ValueError: no class or no slot.
  """
  if num_classes < 1 or num_slots < 1:
    raise ValueError(
      "A dynamic memory needs at least one class and one slot for each; got"
      f" {num_classes} classes and {num_slots} slots. To do without it, leave"
      " it out (dynamic=False)."
    )
  shape = (num_classes, num_slots)
  return Book(
    items=np.full(shape, EMPTY, np.int32),
    entropies=np.full(shape, -np.inf, np.float32),
    counts=np.zeros(num_classes, np.int32),
    time=0,
  )


def schedule(
  labels: Int32[np.ndarray, "n"],
  entropies: Float32[np.ndarray, "n"],
  *,
  book: Book,
) -> Lives:
  """The lives of n items that come one after the other.

  Args:
    labels: pseudo-labels, in [0, C).
    entropies: finite; the lower the surer.
    book: the state before the first of them.
  """
  after, (slots, evicted) = _run(
    dataclasses.replace(book, time=jnp.int32(book.time)), labels, entropies
  )
  evicted, start = np.asarray(evicted), int(book.time)
  deaths = np.full(len(labels), NEVER, np.int32)
  killers = np.flatnonzero(evicted >= start)
  deaths[evicted[killers] - start] = killers + start
  return Lives(
    slots=np.asarray(slots),
    deaths=deaths,
    evicted=evicted,
    book=jax.tree.map(np.asarray, after),
  )


@jax.jit
def _run(book, labels, entropies):
  return jax.lax.scan(
    lambda book, item: write(book, *item), book, (labels, entropies)
  )


def write(
  book: Book, label: jax.Array, entropy: jax.Array
) -> tuple[Book, tuple[jax.Array, jax.Array]]:
  """The state after one item; its slot (-1: skipped) and whom it replaced."""
  row, count = book.entropies[label], book.counts[label]
  full = count >= row.shape[0]
  slot = jnp.where(full, jnp.argmax(row).astype(jnp.int32), count)
  slot = jnp.minimum(slot, row.shape[0] - 1)
  written = ~full | (entropy < row[slot])
  old = book.items[label, slot]
  after = Book(
    items=book.items.at[label, slot].set(jnp.where(written, book.time, old)),
    entropies=book.entropies.at[label, slot].set(
      jnp.where(written, entropy, row[slot])
    ),
    counts=book.counts.at[label].add((~full).astype(jnp.int32)),
    time=book.time + 1,
  )
  return after, (
    jnp.where(written, slot, -1),
    jnp.where(written, old, EMPTY),
  )


def items_at_stretches(
  lives: Lives,
  labels: Int32[np.ndarray, "n"],
  *,
  book: Book,
  length: int,
) -> Iterator[Int32[np.ndarray, "C L"]]:
  """The item in every slot before each stretch of the stream, [C, L].

  Args:
    lives: of the items of the stream.
    labels: their pseudo-labels.
    book: the state before the first of them.
    length: items in a stretch.
  """
  items = np.array(book.items)
  for start in range(0, len(labels), length):
    yield items.copy()
    part = slice(start, start + length)
    written = np.flatnonzero(lives.slots[part] >= 0) + start
    # Of several writes to one slot NumPy keeps the last, as the stream does.
    items[labels[written], lives.slots[written]] = written + int(book.time)
