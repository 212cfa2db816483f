"""A memory of labelled embeddings, sharded over devices and editable.

  memory = VisualMemory.from_embedded(embedded)
  memory = memory.add(more)              # returns a new memory
  memory = memory.remove(["cat/3.jpg"])
  memory = memory.relabel(["dog/1.jpg"], ["wolf"])

Edits return a new memory and leave the old one as it was, at the price of a
copy. With donate=True the new memory takes over the old one's buffers: the
edit costs only the rows it touches, nothing of the old contents survives on
the devices, and the old memory can no longer be used.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from visual_memory import direct_files, distributed
from visual_memory.memory import edits, layout, matching, room
from visual_memory.memory import rows as rows_lib
from visual_memory.memory import whitening as whitening_lib
from visual_memory.memory.held_rows import HOLDER, HeldRows
from visual_memory.memory.precision import choose
from visual_memory.memory.row_table import RowTable
from visual_memory.types import EmbeddedSet, Ids, embedded_set

_GROWTH = 1.5
_LARGE_BYTES = 1 << 30
"""Of rows beside which even what was freed in small pieces counts."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class VisualMemory(HeldRows):
  """Labelled unit embeddings on a mesh; build one with `from_embedded`.

  Its attributes, and what reads it, are those of HeldRows.
  """

  @classmethod
  def from_embedded(
    cls,
    embedded: EmbeddedSet,
    *,
    mesh: Mesh | None = None,
    capacity: int | None = None,
    precision: str = "auto",
    whitening: float | int | None = None,
  ) -> "VisualMemory":
    """A memory holding every row of an EmbeddedSet, in its order.

    Args:
      embedded: the rows; the same in every process.
      mesh: the devices to shard over; all of them by default.
      capacity: slots to reserve, rounded up to whole granules per device; by
        default 1/32 more than there are rows.
      precision: of the first pass of a search: "float32", or "bfloat16" or
        "int8", which keep a coarse copy of the rows beside them; "auto" is
        what these devices do fast (see memory/precision.py). Answers are the
        same.
      whitening: the ridge of `whitened`; None to compare rows as they are.

    Raises:
      ValueError: rows that are not finite and unit, repeated ids, labels out
        of range, a capacity below the number of rows, or a ridge that is none.
      MemoryError: the slots do not fit on the devices; nothing is allocated.
    """
    embedded = _checked(embedded)
    if whitening is not None:
      whitening_lib.check_ridge(whitening)
    mesh = distributed.make_mesh() if mesh is None else mesh
    count = len(embedded)
    capacity = rows_lib.choose_capacity(count, capacity=capacity, mesh=mesh)
    precision = choose(
      precision,
      capacity=capacity,
      dim=embedded.embeddings.shape[1],
      mesh=mesh,
      whitened=whitening is not None,
    )
    table = RowTable(embedded.ids, capacity=capacity, next_serial=count)
    if embedded.embeddings.nbytes >= _LARGE_BYTES:
      direct_files.release()  # What the checks took, before the rows come.
    rows = rows_lib.rows_from_host(embedded, capacity, mesh)
    made = cls(
      rows=rows,
      table=table,
      class_names=embedded.class_names,
      fingerprint=embedded.fingerprint,
      mesh=mesh,
    )
    return made.prepared(precision, whitening)

  def whitened(self, ridge: float | int | None = 1.0) -> "VisualMemory":
    """The same rows, compared after whitening on the rows themselves.

    No label is used. The statistics are those of the rows that are there, after
    every edit, exactly: see memory/whitening.py. An edit then costs a product
    of all rows with a [D, D] matrix, and rows take twice the room.

    Args:
      ridge: what is added to every variance, in units of their mean, 1e-4 to
        1e4; None to compare the rows as they are.

    Raises:
      ValueError: a ridge that is none.
      MemoryError: there is no room for the rows and what is made of them.
    """
    self.check_usable()
    if ridge is None and self.whitening is None:
      return self
    if ridge is not None:
      ridge = whitening_lib.check_ridge(ridge)
      room.check_rows(self.capacity, self.dim, "float32", self.mesh)
    plain = dataclasses.replace(
      self.rows, embeddings=self.given, coarse=None, originals=None
    )
    return dataclasses.replace(self, rows=plain, whitening=None).prepared(
      self.rows.precision, ridge
    )

  def prepared(self, precision: str, ridge: float | None) -> "VisualMemory":
    """Plain float32 rows made ready for searches: whitened, coarse copies."""
    if ridge is None:
      rows = rows_lib.with_precision(self.rows, precision)
      return dataclasses.replace(self, rows=rows)
    rows = dataclasses.replace(self.rows, originals=self.rows.embeddings)
    moments = whitening_lib.moments_on(rows.originals, self.mesh)
    return dataclasses.replace(self, rows=rows)._compared(
      moments, ridge, precision
    )

  def _compared(
    self, moments: whitening_lib.Moments, ridge: float, precision: str
  ) -> "VisualMemory":
    """This memory with its originals whitened by their moments."""
    made = whitening_lib.whitening(moments, ridge)
    rows = dataclasses.replace(
      self.rows,
      embeddings=whitening_lib.apply_on(made, self.rows.originals, self.mesh),
      coarse=None,
    )
    rows = rows_lib.with_precision(rows, precision)
    return dataclasses.replace(self, rows=rows, whitening=made)

  def _rewhitened(
    self, moments: whitening_lib.Moments | None = None
  ) -> "VisualMemory":
    """After an edit: compared anew if the rows are whitened, else as it is.

    Args:
      moments: of the rows that are there now; found from them by default.
    """
    if self.whitening is None:
      return self
    if moments is None:
      moments = whitening_lib.moments_on(self.rows.originals, self.mesh)
    return self._compared(moments, self.whitening.ridge, self.rows.precision)

  def add(
    self, embedded: EmbeddedSet, *, donate: bool = False
  ) -> "VisualMemory":
    """A memory with these rows appended.

    Classes are matched by name; unknown names become new classes at the end.
    Grows (by half at least, a new layout and one recompilation) when the spare
    slots are used up.

    Raises:
      ValueError: another encoder's fingerprint or dimension, an id that is
        already in the memory, or a row that is not finite and unit.
    """
    return self.with_rows(self._check_addable(embedded), donate=donate)

  def remove(self, ids: Ids, *, donate: bool = False) -> "VisualMemory":
    """A memory without these rows: embedding, label and id are erased.

    Raises:
      KeyError: names ids that are not in the memory; nothing is removed.
      ValueError: an id given twice.
    """
    return self.without_slots(self._find_distinct(ids), donate=donate)

  def relabel(
    self,
    ids: Ids,
    labels: Sequence[int | str] | np.ndarray,
    *,
    donate: bool = False,
  ) -> "VisualMemory":
    """A memory where these rows have new labels (indices or class names).

    A name that the memory does not know becomes a new class at the end.

    Raises:
      KeyError: ids that are not in the memory.
      ValueError: an id given twice, or an index that no class has.
    """
    slots = self._find_distinct(ids)
    class_names, indices = matching.label_indices(
      self.class_names, labels, count=len(slots)
    )
    return self.with_labels(slots, class_names, indices, donate=donate)

  def subset(self, ids: Ids) -> "VisualMemory":
    """A memory of these rows alone, keeping their order of insertion."""
    found = np.zeros(self.capacity, bool)
    found[self._find_distinct(ids)] = True
    slots = self.table.slots
    slots = slots[found[slots]]
    return self._laid_out(slots, capacity=len(slots))._rewhitened()

  def with_rows(
    self,
    embedded: EmbeddedSet,
    *,
    donate: bool,
    first_serial: int | None = None,
  ) -> "VisualMemory":
    """`add` of rows that are known to be sound and new."""
    memory = self._with_free(len(embedded), donate=donate)
    donate = donate or memory is not self  # A fresh layout is ours to reuse.
    class_names, labels = matching.match_classes(self.class_names, embedded)
    table = memory.table if donate else memory.table.copy(to_edit=True)
    if first_serial is not None:
      table.next_serial = first_serial
    slots, serials = table.upcoming(len(embedded))
    rows = edits.write_rows(
      memory.rows,
      self.mesh,
      slots,
      embeddings=embedded.embeddings,
      labels=labels,
      serials=serials,
      donate=donate,
    )
    table.append(embedded.ids)  # While the devices write.
    memory = dataclasses.replace(
      memory, rows=rows, table=table, class_names=class_names
    )
    if memory.whitening is None:
      return memory
    more = whitening_lib.moments_of(embedded.embeddings)
    return memory._rewhitened(memory.whitening.moments + more)

  def without_slots(self, slots: np.ndarray, *, donate: bool) -> "VisualMemory":
    """`remove` of the rows in these slots."""
    table = self.table if donate else self.table.copy(to_edit=True)
    rows = edits.clear_rows(self.rows, self.mesh, slots, donate=donate)
    table.forget(slots)
    return dataclasses.replace(self, rows=rows, table=table)._rewhitened()

  def with_labels(
    self,
    slots: np.ndarray,
    class_names: tuple[str, ...],
    labels: np.ndarray,
    *,
    donate: bool,
  ) -> "VisualMemory":
    """`relabel` of the rows in these slots, by indices of class_names."""
    rows = edits.write_labels(
      self.rows, self.mesh, slots, labels, donate=donate
    )
    table = self.table if donate else self.table.copy()
    table.as_of = None
    return dataclasses.replace(
      self, rows=rows, table=table, class_names=class_names
    )

  def _check_addable(self, embedded: EmbeddedSet) -> EmbeddedSet:
    """The set as `embedded_set` makes it, if every row may be added."""
    self.check_usable()
    matching.check_fitting(
      embedded, fingerprint=self.fingerprint, dim=self.dim, holder=HOLDER
    )
    embedded = _checked(embedded)
    slots = self.table.find_or_none(embedded.ids)
    matching.check_absent(embedded.ids, slots, holder=HOLDER)
    return embedded

  def _find_distinct(self, ids: Ids) -> np.ndarray:
    """The slots of ids that must be present and distinct."""
    self.check_usable()
    return self.table.find(matching.distinct_ids(ids))

  def _with_free(self, count: int, *, donate: bool) -> "VisualMemory":
    """This memory, or a new layout of it with count turns to spare."""
    if self.table.free >= count:
      return self
    needed = len(self) + count
    capacity = self.capacity
    if needed > capacity * (1 - rows_lib.SPARE):
      capacity = max(
        int(needed * (1 + rows_lib.SPARE)), int(capacity * _GROWTH)
      )
    memory = self._laid_out(self.table.slots, capacity=capacity)
    if donate:
      for array in jax.tree.leaves(self.rows):
        array.delete()
    return memory

  def _laid_out(self, slots: np.ndarray, *, capacity: int) -> "VisualMemory":
    """A memory of the rows in these slots (in serial order), newly laid out."""
    capacity = layout.capacity_for(max(capacity, len(slots)), self.mesh.size)
    room.check_rows(
      capacity,
      self.dim,
      self.rows.precision,
      self.mesh,
      whitened=self.whitening is not None,
    )
    targets = layout.slots_of(np.arange(len(slots)), capacity)
    sources = np.full(capacity, -1, np.int64)
    sources[targets] = slots
    table = RowTable(
      self.table.ids_in(slots),
      capacity=capacity,
      next_serial=self.table.next_serial,
    )
    table.origin = self.table.origin
    rows = edits.lay_out(self.rows, self.mesh, sources)
    return dataclasses.replace(self, rows=rows, table=table)


def _checked(embedded: EmbeddedSet) -> EmbeddedSet:
  """A set all of whose promises are kept, however it was made."""
  matching.check_set(embedded)
  return embedded_set(
    embedded.embeddings,
    embedded.labels,
    embedded.ids,
    class_names=embedded.class_names,
    fingerprint=embedded.fingerprint,
  )
