"""A memory in bytes and back: to a worker process, or a copy on its devices.

worker.submit(search, memory)      # pickled; laid out on the worker's devices
copy.deepcopy(memory)              # arrays of its own on the same devices
"""

import dataclasses
from typing import Any

import numpy as np

from visual_memory import distributed
from visual_memory.memory import layout, room
from visual_memory.memory import rows as rows_lib
from visual_memory.memory.row_table import RowTable
from visual_memory.types import EmbeddedSet


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
