"""One memory, searched once: exact answers are kept on disk.

search = Search(embedded, mesh, "work/cache", config.retrieval)
near = search(queries, 100, leave_one_out=False)    # Neighbors, [Q, 100]
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any

import numpy as np
from jax.sharding import Mesh

from visual_memory import distributed, types
from visual_memory.memory import precision, room
from visual_memory.memory import rows as rows_lib
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact, neighbor_files, scann
from visual_memory.studies.study_settings import RetrievalSettings
from visual_memory.types import EmbeddedSet, Neighbors


class Search:
  """Searches one memory, building it and keeping exact answers on disk.

  `audit` is of the report: the bits of the numbers that rows are compared in
  at first. With retrieval.backend=scann the answers are approximate: they are
  not kept, and `audit` says what recall was measured.
  """

  def __init__(
    self,
    embedded: EmbeddedSet,
    mesh: Mesh,
    cache_dir: str | os.PathLike,
    retrieval: RetrievalSettings,
  ):
    """Nothing is put on the devices before the first search."""
    self.audit = {}
    if retrieval.backend == "exact":
      chosen = retrieval.precision
      if chosen == "auto":
        count, dim = embedded.embeddings.shape
        slots = rows_lib.choose_capacity(count, capacity=None, mesh=mesh)
        chosen = precision.fast(slots, dim, mesh)
      self.audit = {"first_pass_bits": 8 * room.item_bytes(chosen)}
    self._embedded = embedded
    self._mesh = mesh
    self._cache_dir = pathlib.Path(cache_dir) / "neighbors"
    self._retrieval = retrieval
    self._memory = self._index = None

  def __call__(
    self, queries: EmbeddedSet, k: int, *, leave_one_out: bool
  ) -> Neighbors:
    """The k neighbors of each query, from the cache if they are there."""
    k = min(k, len(self._embedded) - int(leave_one_out))
    exclude = queries.ids if leave_one_out else None
    if self._retrieval.backend == "scann":
      return self.find(queries.embeddings, k, exclude_self=exclude)
    name = self._key(queries, leave_one_out)
    row_ids = self._embedded.ids
    kept = self._kept(name, k)
    if distributed.everyone(bool(kept)):
      near = neighbor_files.load_neighbors(kept[0], row_ids).first(k)
      names = self._embedded.class_names
      return dataclasses.replace(near, class_names=names)
    near = self.find(queries.embeddings, k, exclude_self=exclude)
    if distributed.is_lead():
      path = self._cache_dir / f"{name}-{k}.npz"
      neighbor_files.save_neighbors(path, near, row_ids)
    return near

  def _placed(self) -> VisualMemory:
    """The memory on the devices."""
    if self._memory is None:
      self._memory = VisualMemory.from_embedded(
        self._embedded,
        mesh=self._mesh,
        precision=self._retrieval.precision,
        whitening=self._retrieval.whitening,
      )
    return self._memory

  def find(
    self, rows: np.ndarray, k: int, *, exclude_self: np.ndarray | None = None
  ) -> Neighbors:
    """The k neighbors of unit rows, at most; nothing is read or kept."""
    k = min(k, len(self._embedded))
    if self._retrieval.backend == "exact":
      return exact.search(rows, self._placed(), k=k, exclude_self=exclude_self)
    if self._index is None:
      self._index = scann.ScannIndex.build(self._placed(), k=k)
    found = self._index.search(
      rows,
      k=k,
      exclude_self=exclude_self,
      num_audited=self._retrieval.num_audited,
    )
    self.note(
      {
        "scann_recall_measured": found.recall,
        "audited_queries": found.num_audited,
      }
    )
    return found.neighbors

  def note(self, audit: dict[str, Any]) -> None:
    """Adds what another search was found to be: the least recall counts."""
    if "audited_queries" in audit:
      name, count = "scann_recall_measured", "audited_queries"
      self.audit = {
        name: min(audit[name], self.audit.get(name, 1.0)),
        count: audit[count] + self.audit.get(count, 0),
      }

  def _kept(self, name, k) -> list[pathlib.Path]:
    """The files that hold at least these k neighbors, the smallest first."""
    files = {
      int(path.stem.rpartition("-")[2]): path
      for path in self._cache_dir.glob(f"{name}-*.npz")
    }
    return [files[most] for most in sorted(files) if most >= k]

  def _key(self, queries, leave_one_out) -> str:
    """A hash of everything that the answer depends on, but k."""
    about = [neighbor_files.FORMAT, leave_one_out, self._retrieval.whitening]
    digest = hashlib.sha256(json.dumps(about).encode())
    for embedded in (self._embedded, queries):
      digest.update(embedded.fingerprint.encode())
      digest.update(embedded.embeddings.tobytes())
      digest.update(embedded.labels.tobytes())
      digest.update("\0".join(embedded.ids).encode())
    return digest.hexdigest()[:32]


class NoSearch:
  """What is not in the files cannot be searched for."""

  audit: dict[str, float] = {}

  def __call__(self, *_, **__):
    """Raises ValueError."""
    raise ValueError(
      "This needs a search, but neighbor files hold no embeddings: run it with"
      " config.memory and an encoder instead."
    )


def require_exact(retrieval: RetrievalSettings) -> None:
  """Raises ValueError if an approximate backend was asked for.

  For experiments that edit a memory, or need exact answers: what approximate
  search found before cannot be compared with exact answers after.
  """
  if retrieval.backend != "exact":
    raise ValueError(
      "This experiment searches exactly: leave out"
      f" --config.retrieval.backend={retrieval.backend}."
    )


def exact_memory(
  embedded: EmbeddedSet, mesh: Mesh | None, retrieval: RetrievalSettings
) -> VisualMemory:
  """The memory of an experiment that edits it, or needs exact answers.

  Raises:
    ValueError: an approximate backend was asked for.
  """
  require_exact(retrieval)
  return VisualMemory.from_embedded(
    embedded,
    mesh=mesh,
    precision=retrieval.precision,
    whitening=retrieval.whitening,
  )


def unlabeled(
  rows: np.ndarray, embedded: EmbeddedSet, name: str
) -> EmbeddedSet:
  """Queries of the memory's encoder whose classes nobody says."""
  return types.embedded_set(
    rows,
    np.full(len(rows), types.UNLABELED),
    [f"{name}/{i}" for i in range(len(rows))],
    class_names=embedded.class_names,
    fingerprint=embedded.fingerprint,
  )
