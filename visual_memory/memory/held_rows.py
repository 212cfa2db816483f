"""The rows that a memory holds, read; `memory.VisualMemory` edits them.

worker.submit(search, memory)      # pickled; laid out on the worker's devices
copy.deepcopy(memory)              # arrays of its own on the same devices
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from visual_memory import distributed, parallel, showing
from visual_memory.memory import edits, layout, matching, room
from visual_memory.memory import rows as rows_lib
from visual_memory.memory import whitening as whitening_lib
from visual_memory.memory.row_table import RowTable
from visual_memory.types import EmbeddedSet

HOLDER = "memory"
"""What errors call it."""


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class HeldRows:
  """The part of a memory that changes nothing.

  Attributes:
    rows: the device arrays, row-sharded, with spare capacity.
    table: the host's map between ids and slots.
    class_names: one name for each label.
    fingerprint: the fingerprint of the encoder that made the embeddings.
    mesh: the devices that hold the rows.
    whitening: what rows and queries go through before they are compared; None
      if they are compared as they are. See `whitened`.
  """

  rows: rows_lib.Rows
  table: RowTable = dataclasses.field(metadata={"static": True})
  class_names: tuple[str, ...] = dataclasses.field(metadata={"static": True})
  fingerprint: str = dataclasses.field(metadata={"static": True})
  mesh: Mesh = dataclasses.field(metadata={"static": True})
  whitening: whitening_lib.Whitening | None = dataclasses.field(
    default=None, metadata={"static": True}
  )

  def __len__(self) -> int:
    """The number of rows."""
    return self.table.num_rows

  @property
  def dim(self) -> int:
    """The embedding dimension D."""
    return self.rows.embeddings.shape[1]

  @property
  def capacity(self) -> int:
    """Slots, empty ones included."""
    return self.table.capacity

  @property
  def ids(self) -> np.ndarray:
    """The ids of all rows, in order of insertion, [N]; see EmbeddedSet."""
    return self.table.ids

  def __repr__(self) -> str:
    """How many rows of which encoder, and where."""
    return showing.line("VisualMemory", *self._facts(), repr(self.fingerprint))

  def _repr_html_(self) -> str:
    """The same as a card, with the rows of each class."""
    parts = [showing.note(self.fingerprint)]
    if self.rows.labels.is_fully_addressable and len(self.class_names):
      labels = np.asarray(self.rows.labels)
      counts = np.bincount(labels[labels >= 0], minlength=len(self.class_names))
      pairs = zip(self.class_names, counts.tolist(), strict=True)
      parts = [showing.bars(dict(pairs)), *parts]
    return showing.card("VisualMemory", self._facts(), parts)

  def _facts(self) -> tuple[str, ...]:
    """What is worth knowing."""
    return (
      f"{len(self):,} x {self.dim:,}",
      showing.counted(len(self.class_names), "class", "classes"),
      showing.counted(self.mesh.size, "device"),
      f"{self.rows.precision} first pass",
      *(
        [f"whitened (ridge {self.whitening.ridge:g})"] if self.whitening else []
      ),
    )

  def __reduce__(self):
    """Pickles all rows, to be laid out on the devices of whoever reads it."""
    return unpacked, (packed(self),)

  def __copy__(self) -> "HeldRows":
    """The same arrays: a memory never changes."""
    return dataclasses.replace(self)

  def __deepcopy__(self, memo) -> "HeldRows":
    """Arrays of its own on the same devices."""
    self.check_usable()
    rows = edits.copied(self.rows)
    return dataclasses.replace(self, rows=rows, table=self.table.copy())

  def check_usable(self) -> None:
    """Raises ValueError if an edit with donate=True has used this memory up."""
    if any(array.is_deleted() for array in jax.tree.leaves(self.rows)):
      raise ValueError(
        "This memory was deleted by an edit with donate=True: use the memory"
        " that the edit returned."
      )

  def embedded(self) -> EmbeddedSet:
    """All rows as an EmbeddedSet on the host, in order of insertion.

    They are what was put in, also where they are searched whitened.
    """
    return self._on_host(self.given)

  def searched(self) -> EmbeddedSet:
    """`embedded` as it is compared with queries that `as_searched` made."""
    return self._on_host(self.rows.embeddings)

  def as_searched(self, queries: np.ndarray) -> np.ndarray:
    """Queries [Q, D] as they are compared with the rows: whitened, or not.

    Whitened ones have unit length (zero ones stay zero).
    """
    return queries if self.whitening is None else self.whitening.apply(queries)

  def ids_with_label(self, label: int | np.integer | str) -> np.ndarray:
    """The ids of a class (index or name), in order of insertion."""
    index = matching.label_index(self.class_names, label, holder=HOLDER)
    slots = self.table.slots
    labels = distributed.gather(self.rows.labels)[slots]
    return self.table.ids[labels == index].astype(object)

  @property
  def given(self) -> jax.Array:
    """The rows as they were put in, [capacity, D]."""
    rows = self.rows
    return rows.embeddings if rows.originals is None else rows.originals

  def _on_host(self, embeddings: jax.Array) -> EmbeddedSet:
    """Rows in order of insertion, with these embeddings."""
    slots = self.table.slots
    return EmbeddedSet(
      embeddings=parallel.take(distributed.gather(embeddings), slots),
      labels=distributed.gather(self.rows.labels)[slots],
      ids=self.table.ids,
      class_names=self.class_names,
      fingerprint=self.fingerprint,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Packed:
  """All that a memory is, on the host.

  Attributes:
    kind: the class of the memory.
    embedded: its rows, in order of insertion.
    serials: theirs, [N].
    next_serial: of the next row.
    capacity: slots.
    precision: of the first pass of a search.
    whitening: the ridge, or None.
  """

  kind: type
  embedded: EmbeddedSet
  serials: np.ndarray
  next_serial: int
  capacity: int
  precision: str
  whitening: float | None


def packed(memory: Any) -> Packed:
  """A VisualMemory as host arrays; with several processes, all must ask for it.

  Raises:
    ValueError: a donated edit has used the memory up.
  """
  memory.check_usable()
  serials = distributed.gather(memory.rows.serials)
  return Packed(
    kind=type(memory),
    embedded=memory.embedded(),
    serials=np.sort(serials[serials >= 0]),
    next_serial=memory.table.next_serial,
    capacity=memory.capacity,
    precision=memory.rows.precision,
    whitening=memory.whitening and memory.whitening.ridge,
  )


def unpacked(parts: Packed) -> Any:
  """The memory on all devices of this process, with the answers of the first.

  Raises:
    MemoryError: its slots do not fit on them.
  """
  mesh = distributed.make_mesh()
  rows, count = parts.embedded, len(parts.embedded)
  capacity = layout.capacity_for(max(parts.capacity, count), mesh.size)
  room.check_rows(
    capacity,
    rows.embeddings.shape[1],
    parts.precision,
    mesh,
    whitened=parts.whitening is not None,
  )
  placed = rows_lib.rows_from_host(rows, capacity, mesh, serials=parts.serials)
  made = parts.kind(
    rows=placed,
    table=RowTable(rows.ids, capacity=capacity, next_serial=parts.next_serial),
    class_names=rows.class_names,
    fingerprint=rows.fingerprint,
    mesh=mesh,
  )
  return made.prepared(parts.precision, parts.whitening)
