"""Exact search over rows on disk, larger than memory.

  blocks = row_blocks.ArrayBlocks.from_directory("rows", block_rows=65_536)
  near = streaming.search(queries, row_blocks.in_order(blocks), k=100)

The answer is that of `exact.search` over all rows at once. Two blocks are in
memory at a time: one is searched while a thread reads the next. The k-th
similarity found so far tells the search of a block what it need not find.
"""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from visual_memory import direct_files, distributed, subnormals
from visual_memory.memory import layout
from visual_memory.memory import rows as rows_lib
from visual_memory.memory.rows import with_precision
from visual_memory.retrieval import attempts, exact
from visual_memory.retrieval.found import LAST, Found, best, nothing
from visual_memory.retrieval.row_blocks import Block, strings
from visual_memory.types import UNLABELED, Array, Neighbors, check_unit_rows


def search(
  queries: Float[Array, "Q D"],
  blocks: Iterable[Block],
  *,
  k: int,
  exclude_self: Sequence[str] | np.ndarray | None = None,
  mesh: Mesh | None = None,
  precision: str = "float32",
) -> Neighbors:
  """The k nearest rows of each query, over all blocks.

  Args:
    queries: float32, finite, the same in every process, [Q, D].
    blocks: the rows; ids and serials are unique over all of them. No block
      has more rows than the first, whose size decides what is compiled.
    k: neighbors per query.
    exclude_self: the id of each query, [Q]: the row with that id is not
      returned for it.
    mesh: the devices that each block is sharded over; all by default.
    precision: of the first pass over each block: "float32", "bfloat16" or
      "int8", for which a copy of every block is made. Answers are the same.

  Returns:
    Neighbors, on the host; `num_redone` counts the second attempts over all
    blocks.

  Raises:
    ValueError: fewer than k rows to find, rows that are not finite and unit,
      queries of another dimension, a block larger than the first, or a serial
      that two rows have.
  """
  mesh = distributed.make_mesh() if mesh is None else mesh
  if exclude_self is not None and len(exclude_self) != len(queries):
    raise ValueError(
      f"exclude_self has {len(exclude_self)} ids for {len(queries)} queries."
    )
  if k < 1:
    raise ValueError(f"k = {k}: choose k from 1 to the number of rows.")
  so_far = _Best(len(queries), k)
  try:
    for placed in _one_ahead(_place_all(blocks, mesh, precision)):
      if not so_far.num_rows:
        queries = exact.check_queries(queries, placed.rows.embeddings.shape[1])
      found, redone = attempts.answer(
        queries,
        placed.rows,
        placed.excluded(exclude_self, len(queries)),
        mesh=mesh,
        k=k,
        floor=so_far.found.similarities[:, -1],
      )
      so_far.add(found, redone, placed)
  finally:
    direct_files.release()
  return so_far.neighbors()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Placed:
  """A block on the devices, spread over slots as a memory's rows are.

  Attributes:
    rows: the device arrays, empty slots included.
    ids: object array [B].
    serials: int32 [B].
  """

  rows: rows_lib.Rows
  ids: np.ndarray
  serials: Int[np.ndarray, "B"]

  @property
  def capacity(self) -> int:
    """Slots."""
    return len(self.rows.labels)

  def excluded(self, ids, count: int) -> Int[np.ndarray, "Q"]:
    """The slot of the row that each query must not find, or -1."""
    if ids is None:
      return np.full(count, -1, np.int32)
    turn = {row_id: index for index, row_id in enumerate(self.ids)}
    turns = np.array([turn.get(i, -1) for i in ids], np.int64)
    slots = layout.slots_of(turns, self.capacity)
    return np.where(turns < 0, -1, slots).astype(np.int32)


def _place_all(
  blocks: Iterable[Block], mesh: Mesh, precision: str
) -> Iterator[_Placed]:
  """Every block, read, checked and put on the devices in one fixed shape."""
  most = 0
  for block in blocks:
    most = most or len(block)
    if len(block) > most:
      raise ValueError(
        f"A block has {len(block)} rows and the first has {most}: no block may"
        " be larger than the first."
      )
    ids = strings(block.ids)
    check_unit_rows(np.asarray(block.embeddings), ids)
    rows = _place(block, layout.capacity_for(most, mesh.size), mesh)
    rows = with_precision(rows, precision)
    yield _Placed(rows=rows, ids=ids, serials=np.asarray(block.serials))


def _place(block: Block, capacity: int, mesh: Mesh) -> rows_lib.Rows:
  """The rows of a block in the slots of a memory of this capacity."""
  embeddings = np.asarray(block.embeddings, np.float32)
  embeddings = subnormals.flushed(embeddings)
  slots = layout.slots_of(np.arange(len(block)), capacity)
  empty = np.setdiff1d(np.arange(capacity), slots, assume_unique=True)

  def put(values, default, dtype):
    padded = direct_files.empty((capacity, *values.shape[1:]), dtype)
    padded[empty] = default
    padded[slots] = values
    return distributed.shard_rows(padded, mesh)

  return rows_lib.Rows(
    embeddings=put(embeddings, 0, np.float32),
    labels=put(block.labels, UNLABELED, np.int32),
    serials=put(block.serials, rows_lib.EMPTY, np.int32),
  )


def _one_ahead(items: Iterator[_Placed]) -> Iterator[_Placed]:
  """The items; while one is used, a thread makes the next."""
  with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
    upcoming = pool.submit(next, items, None)
    while (item := upcoming.result()) is not None:
      upcoming = pool.submit(next, items, None)
      yield item
      del item


class _Best:
  """The k best rows of each query over the blocks so far."""

  def __init__(self, num_queries: int, k: int):
    self.found = jax.device_get(nothing(num_queries, k))
    self.num_rows = 0
    self._k = k
    self._serials: list[np.ndarray] = []  # Of every row that ever was found,
    self._ids: list[np.ndarray] = []  # and its id.
    self._runs: list[np.ndarray] = []  # Of serials: (first, length), [M, 2].
    self._num_redone = 0

  def add(self, found: Found, redone: int, placed: _Placed) -> None:
    """Merges what a block's search found."""
    merged = jax.device_get(_merge(self.found, found, k=self._k))
    slots = np.unique(merged.slots[merged.slots >= 0])
    new = layout.turns_of(slots, placed.capacity)
    self._serials.append(placed.serials[new])
    self._ids.append(placed.ids[new])
    # Slots are those of one block: the next one's begin anew.
    self.found = dataclasses.replace(
      merged, slots=np.full_like(found.slots, -1)
    )
    self._runs.append(_runs(placed.serials))
    self.num_rows += len(placed.ids)
    self._num_redone += redone

  def neighbors(self) -> Neighbors:
    """What was found, after the last block."""
    if self.num_rows < self._k or (self.found.serials == LAST).any():
      raise ValueError(
        f"k = {self._k}, but the blocks have {self.num_rows} rows (a query's"
        " own row is left out under exclude_self): choose a smaller k."
      )
    serials = np.concatenate(self._serials)
    order = np.argsort(serials)
    which = order[np.searchsorted(serials, self.found.serials, sorter=order)]
    return Neighbors(
      ids=np.concatenate(self._ids)[which],
      indices=_positions(np.concatenate(self._runs), self.found.serials),
      labels=self.found.labels,
      similarities=self.found.similarities,
      num_redone=self._num_redone,
    )


def _runs(serials: np.ndarray) -> Int[np.ndarray, "M 2"]:
  """The runs of consecutive serials, ascending: (first, length) of each."""
  serials = np.sort(serials)
  firsts = np.flatnonzero(np.diff(serials, prepend=serials[:1] - 2) != 1)
  lengths = np.diff(firsts, append=len(serials))
  return np.stack([serials[firsts].astype(np.int64), lengths], axis=1)


def _positions(
  runs: Int[np.ndarray, "M 2"], serials: Int[np.ndarray, "Q k"]
) -> Int[np.ndarray, "Q k"]:
  """The ranks of these serials among those of all runs.

  Raises:
    ValueError: runs that overlap.
  """
  firsts, lengths = runs[np.argsort(runs[:, 0], kind="stable")].T
  again = np.flatnonzero(firsts[1:] < firsts[:-1] + lengths[:-1])
  if again.size:
    raise ValueError(
      f"Two rows have the serial {firsts[again[0] + 1]}: serials must be unique"
      " over all blocks."
    )
  run = np.searchsorted(firsts, serials, side="right") - 1
  before = np.cumsum(lengths) - lengths
  return (before[run] + serials - firsts[run]).astype(np.int32)


@functools.partial(jax.jit, static_argnames="k")
def _merge(old: Found, new: Found, *, k: int) -> Found:
  """The k best of both."""
  both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), old, new)
  return best(both, k)
