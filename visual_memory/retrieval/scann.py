"""Approximate search with ScaNN beside a memory, with its recall measured.

  index = ScannIndex.build(memory, k=100)
  found = index.search(queries, k=100)     # found.neighbors, found.recall
  index = index.upsert(more); index = index.delete(ids)
  index.save("index_dir"); index = ScannIndex.load("index_dir", memory)

The memory stays the source of truth: it holds labels and identities, and the
exact search over it tells, for a sample of every batch of queries, which share
of the true neighbors ScaNN found. Needs `pip install 'visual_memory[scann]'`.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact, scann_files
from visual_memory.types import Array, EmbeddedSet, Ids, Neighbors, as_ids

_TRAINING_ROWS = 250_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How an index is built and searched.

  Attributes:
    num_leaves: partitions of the rows; 0 is no partitioning.
    leaves_to_search: partitions that a query looks into.
    dimensions_per_block: dimensions that share one 4-bit code; 0 is no codes,
      every row is scored exactly.
    num_reordered: candidates that are scored again exactly.
    anisotropic_threshold: of the codes' training, a cosine.

  Reference: algorithms.md of google-research/scann (sizes from N).
  """

  num_leaves: int
  leaves_to_search: int
  dimensions_per_block: int
  num_reordered: int
  anisotropic_threshold: float = 0.2


def settings_for(num_rows: int, *, k: int) -> Settings:
  """The settings that ScaNN's guide gives for this many rows.

  Up to 20,000 rows are scored exactly; up to 100,000 are coded; more are also
  partitioned, into about sqrt(N) leaves of which a tenth is searched.
  """
  if num_rows < 20_000:
    return Settings(
      num_leaves=0, leaves_to_search=0, dimensions_per_block=0, num_reordered=0
    )
  num_leaves = round(num_rows**0.5) if num_rows >= 100_000 else 0
  return Settings(
    num_leaves=num_leaves,
    leaves_to_search=-(-num_leaves // 10),
    dimensions_per_block=2,
    num_reordered=4 * k + 100,
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Approximate:
  """What an approximate search found, and how good it is.

  Attributes:
    neighbors: at most approximately the k nearest; their order is similarity
      descending, then position in the index.
    recall: the fraction of the true k nearest rows that were found, over the
      audited queries; a row as similar as the true k-th counts as found.
    num_audited: how many queries were also answered exactly.
  """

  neighbors: Neighbors
  recall: float
  num_audited: int


class ScannIndex:
  """A ScaNN index of the rows of a memory. Make one with build or load."""

  def __init__(self, searcher, memory: VisualMemory, ids: np.ndarray):
    """Wraps a searcher whose row r is the memory's row with id ids[r]."""
    self._searcher = searcher
    self._ids = ids
    self.memory = memory

  @classmethod
  def build(
    cls, memory: VisualMemory, *, k: int, settings: Settings | None = None
  ) -> "ScannIndex":
    """An index of all rows of a memory.

    Args:
      memory: the rows.
      k: neighbors that searches will ask for, about.
      settings: `settings_for(len(memory), k=k)` by default.

    Raises:
      ImportError: scann is not installed.
    """
    settings = settings or settings_for(len(memory), k=k)
    rows = memory.searched()
    builder = library().builder(rows.embeddings, k, "dot_product")
    if settings.num_leaves:
      builder = builder.tree(
        num_leaves=settings.num_leaves,
        num_leaves_to_search=settings.leaves_to_search,
        training_sample_size=min(len(rows), _TRAINING_ROWS),
      )
    if settings.dimensions_per_block:
      builder = builder.score_ah(
        settings.dimensions_per_block,
        anisotropic_quantization_threshold=settings.anisotropic_threshold,
        training_sample_size=min(len(rows), _TRAINING_ROWS),
      ).reorder(settings.num_reordered)
    else:
      builder = builder.score_brute_force()
    searcher = builder.build(docids=rows.ids.tolist())
    return cls(searcher, memory, rows.ids)

  def __len__(self) -> int:
    """The number of rows."""
    return len(self._ids)

  def search(
    self,
    queries: Float[Array, "Q D"],
    *,
    k: int,
    exclude_self: Ids | None = None,
    num_audited: int = 64,
  ) -> Approximate:
    """About the k nearest rows of each query, with measured recall.

    Args:
      queries: float32, finite, [Q, D].
      k: neighbors per query.
      exclude_self: as in exact.search.
      num_audited: queries, spread evenly, that are also answered exactly.

    Raises:
      ValueError: k out of range, num_audited below one, wrong queries, or an
        index that found fewer than k rows (search more leaves).
    """
    queries = exact.check_queries(queries, self.memory.dim)
    most = len(self) - (exclude_self is not None)
    if not 1 <= k <= most:
      raise ValueError(f"k = {k}: choose k from 1 to {most}.")
    if exclude_self is not None:
      exclude_self = as_ids(exclude_self, what="exclude_self")
    if exclude_self is not None and len(exclude_self) != len(queries):
      raise ValueError(
        f"exclude_self has {len(exclude_self)} ids for {len(queries)} queries."
      )
    if num_audited < 1:
      raise ValueError("Approximate results need num_audited of at least 1.")
    if exclude_self is None:
      neighbors = self.search_unaudited(queries, k)
    else:
      neighbors = _without(self.search_unaudited(queries, k + 1), exclude_self)
    audited = np.unique(
      np.linspace(0, len(queries) - 1, min(num_audited, len(queries))).round()
    ).astype(int)
    return Approximate(
      neighbors=neighbors,
      recall=recall_of(
        neighbors.take(audited),
        exact.search(
          queries[audited],
          self.memory,
          k=k,
          exclude_self=None if exclude_self is None else exclude_self[audited],
        ),
      ),
      num_audited=len(audited),
    )

  def upsert(self, embedded: EmbeddedSet) -> "ScannIndex":
    """This index with these rows inserted, or replaced where the id is known.

    The index is changed in place; its new `memory` is a new memory.

    Raises:
      ValueError: as VisualMemory.add, or the memory is whitened; nothing is
        changed.
    """
    self._check_editable()
    known = self.memory.table.find_or_none(embedded.ids) >= 0
    memory = self.memory
    if known.any():
      memory = memory.remove(embedded.ids[known].tolist())
    self.memory = memory.add(embedded)
    self._searcher.upsert(
      embedded.ids.tolist(), embedded.embeddings, batch_size=len(embedded)
    )
    self._ids = np.array(self._searcher.docids, object)
    return self

  def delete(self, ids: Sequence[str] | np.ndarray) -> "ScannIndex":
    """This index without these rows, changed in place.

    The memory erases them. ScaNN's buffers and trained centers may keep traces:
    where removal must be real, build the index anew.

    Raises:
      KeyError: ids that are not in the memory; nothing is removed.
      ValueError: the memory is whitened.
    """
    self._check_editable()
    ids = [str(row_id) for row_id in ids]
    self.memory = self.memory.remove(ids)
    self._searcher.delete(ids)
    self._ids = np.array(self._searcher.docids, object)
    return self

  def save(self, path: str | os.PathLike) -> None:
    """Writes the index into a directory, without the memory and its labels."""
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    # ScaNN would pickle the ids; ours are JSON.
    library().ScannSearcher(self._searcher.searcher).serialize(
      str(path), relative_path=True
    )
    own = {
      "ids": self._ids.tolist(),
      "rows": _digest(self.memory, self._ids),
    }
    (path / scann_files.OWN).write_text(json.dumps(own))

  @classmethod
  def load(cls, path: str | os.PathLike, memory: VisualMemory) -> "ScannIndex":
    """The index in a directory, of exactly the rows of this memory.

    Raises:
      ValueError: the memory's rows are not those of the index, or the
        directory holds a pickle, which could run anything when opened.
      FileNotFoundError: no index of ours there.
    """
    ids, digest = scann_files.read(path)
    if set(ids) != set(memory.ids) or digest != _digest(memory, ids):
      raise ValueError(
        f"The index in {path} has other rows than this memory: build it anew."
      )
    searcher = library().load_searcher(str(path))
    searcher = library().ScannSearcher(searcher.searcher, ids.tolist())
    return cls(searcher, memory, ids)

  def _check_editable(self) -> None:
    """Raises ValueError if an edit of one row changes all of them."""
    if self.memory.whitening is not None:
      raise ValueError(
        "Every row of a whitened memory changes with each edit: edit the memory"
        " and build the index anew."
      )

  def search_unaudited(self, queries: np.ndarray, k: int) -> Neighbors:
    """What ScaNN finds, in our order, without a word about its recall.

    For timing; whoever answers by it uses `search`, which measures.
    """
    # Its own wrapper would look every id up in Python.
    raw = library().ScannSearcher(self._searcher.searcher)
    indices, similarities = raw.search_batched_parallel(
      self.memory.as_searched(queries), k
    )
    if indices.shape[1] < k or not np.isfinite(similarities).all():
      raise ValueError(
        f"ScaNN found fewer than k = {k} rows for some queries: build the index"
        " with more leaves_to_search."
      )
    indices = indices.astype(np.int32)
    order = np.lexsort((indices, -similarities), axis=1)
    indices = np.take_along_axis(indices, order, axis=1)
    ids = self._ids[indices]
    slots = self.memory.table.find(ids.ravel())
    labels = np.asarray(self.memory.rows.labels)[slots].reshape(ids.shape)
    return Neighbors(
      ids=ids,
      indices=self.memory.table.positions(slots).reshape(ids.shape),
      labels=labels,
      similarities=np.take_along_axis(similarities, order, axis=1),
      class_names=self.memory.class_names,
    )


def _without(near: Neighbors, ids: np.ndarray) -> Neighbors:
  """One neighbor fewer for each query: the one of this id, or the last."""
  own = near.ids == ids[:, None]
  kept = np.argsort(own, axis=1, kind="stable")[:, :-1]
  return dataclasses.replace(
    near,
    **{
      name: np.take_along_axis(np.asarray(getattr(near, name)), kept, axis=1)
      for name in ("ids", "indices", "labels", "similarities")
    },
  )


def recall_of(found: Neighbors, true: Neighbors) -> float:
  """The fraction of the true k nearest that were found, ties forgiven."""
  # ScaNN's float32 sums differ from ours in the last bits.
  least = true.similarities[:, -1:] - 1e-5
  return float(np.mean(np.asarray(found.similarities) >= least))


def _digest(memory: VisualMemory, ids: np.ndarray) -> str:
  """SHA-256 of the rows with these ids, in this order."""
  rows = np.asarray(memory.rows.embeddings)[memory.table.find(ids)]
  return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()


def library():
  """ScaNN's Python module."""
  try:
    from scann.scann_ops.py import scann_ops_pybind
  except ImportError as error:
    raise ImportError(
      "Approximate search needs ScaNN: pip install 'visual_memory[scann]'."
    ) from error
  return scann_ops_pybind
