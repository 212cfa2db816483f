"""From a source of images to rows of a store, part by part.

Never more than one part is in memory, every part is durable when it is done,
and rows that are there already are left out: a stopped job continues when it
is started again.
"""

import dataclasses
import os
import threading
from collections.abc import Mapping
from typing import Any, SupportsIndex

import numpy as np

from visual_memory import types
from visual_memory.collection.provenance import ORIGIN, Origin, Provenance
from visual_memory.collection.provenance import provenance as provenance_of
from visual_memory.data import selection
from visual_memory.data.decoding import UnreadableImage
from visual_memory.data.image_source import ImageSource
from visual_memory.encoders.embedding import embed as embed_lib
from visual_memory.encoders.encoder import Encoder
from visual_memory.progress import Progress
from visual_memory.store import creation
from visual_memory.store.errors import StoreError
from visual_memory.store.store import Store

PART = 8192
"""Images in a part, a multiple of what an encoder is given at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ingested:
  """What became of the images of a source.

  Attributes:
    num_added: images that are rows now.
    num_present: images that were rows already.
    skipped: images that cannot be read: (id, what is wrong).
  """

  num_added: int
  num_present: int
  skipped: tuple[tuple[str, str], ...]


def create(
  path: str | os.PathLike,
  encoder: Encoder,
  arguments: Mapping[str, Any],
  class_names: tuple[str, ...],
) -> Store:
  """A store without rows that knows its encoder; an unfinished one goes on.

  Args:
    path: of the store.
    encoder: for its rows.
    arguments: those of `load_encoder` that gave it, plain JSON values.
    class_names: of the labels.

  Raises:
    StoreError: there is a finished store, or one of another encoder.
  """
  began = Provenance(
    encoder=arguments,
    preprocess=encoder.preprocess.to_dict(),
    unfinished=True,
  )
  try:
    store = Store.open(path)
  except StoreError:  # There is none; whatever else is there, create says.
    empty = types.embedded_set(
      np.zeros((0, encoder.dim), np.float32),
      np.zeros(0, np.int32),
      [],
      class_names=class_names,
      fingerprint=encoder.fingerprint,
    )
    return Store.create(
      path,
      empty,
      attributes=began.to_attributes(),
      rows_per_chunk=creation.rows_per_chunk(PART, encoder.dim),
    )
  if not store.attributes.get("unfinished"):
    raise StoreError(
      f"There is a memory at {path} already, of {len(store):,} rows: add to"
      " it, or build another one somewhere else."
    )
  if store.fingerprint != encoder.fingerprint:
    raise StoreError(
      f"A memory of the encoder {store.fingerprint!r} was begun at {path}, not"
      f" of {encoder.fingerprint!r}: finish it, or delete it first."
    )
  return store


def finish(store: Store) -> None:
  """Marks a store as whole."""
  found = provenance_of(store)
  store.describe(dataclasses.replace(found, unfinished=False).to_attributes())


def ingest(
  store: Store,
  encoder: Encoder,
  source: ImageSource,
  origin: Origin,
  *,
  metadata: Mapping[str, Any] | None = None,
  batch_size: int | None = None,
  progress: bool = True,
) -> Ingested:
  """Adds the images of a source that are not in a store yet.

  Args:
    store: made by `create`.
    encoder: the store's.
    source: the images.
    origin: what opens the source again (its labels may be others).
    metadata: a JSON object for all the rows.
    batch_size: see `embed`.
    progress: print progress to standard error.

  Raises:
    ValueError: not one image of the source can be read.
  """
  recorded, number = provenance_of(store).with_origin(origin)
  if recorded != provenance_of(store):
    store.describe(recorded.to_attributes())
  ids = np.array([origin.prefix + i for i in source.ids], dtype=object)
  present = set(store.ids.tolist())
  new = np.array([row_id not in present for row_id in ids], bool)
  record = {**(metadata or {}), ORIGIN: number}
  skipped: list[tuple[str, str]] = []
  with Progress(int(new.sum()), what="images", enabled=progress) as counter:
    for start in range(0, len(source), PART):
      rows = start + np.flatnonzero(new[start : start + PART])
      part = Watched(selection.subset(source, rows), counter)
      embedded = part.embed(encoder, batch_size=batch_size)
      skipped += part.failed
      if embedded is not None:
        named = [origin.prefix + i for i in embedded.ids]
        renamed = dataclasses.replace(embedded, ids=types.as_ids(named))
        store.add(renamed, metadata=record)
  if new.all() and len(skipped) == len(source):
    raise ValueError(
      f"None of the {len(source)} images can be read; the first,"
      f" {skipped[0][0]!r}: {skipped[0][1]}."
    )
  return Ingested(
    num_added=int(new.sum()) - len(skipped),
    num_present=int((~new).sum()),
    skipped=tuple(skipped),
  )


class Watched:
  """A source whose images are counted as they are read.

  Attributes:
    failed: the images that could not be read: (id, what is wrong).
  """

  def __init__(self, source: ImageSource, counter: Progress):
    """The same source, counted."""
    self.class_names = source.class_names
    self.labels, self.ids = source.labels, source.ids
    self.fingerprint = source.fingerprint
    self.failed: list[tuple[str, str]] = []
    self._source, self._counter = source, counter
    self._lock = threading.Lock()
    self._seen: set[int] = set()

  def __len__(self) -> int:
    """The number of images."""
    return len(self._source)

  def __getitem__(self, row: SupportsIndex) -> types.Example:
    """The image at this position."""
    problem = None
    try:
      return self._source[row]
    except UnreadableImage as error:
      problem = error
      raise
    finally:
      self._count(int(row), problem)

  def embed(
    self, encoder: Encoder, *, batch_size: int | None
  ) -> types.EmbeddedSet | None:
    """The embeddings of all that can be read; None if nothing can."""
    if not len(self):
      return None
    try:
      return embed_lib.embed(
        encoder, self, batch_size=batch_size, progress=False
      )
    except ValueError:
      if len(self.failed) == len(self):
        return None
      raise

  def _count(self, row: int, problem: UnreadableImage | None) -> None:
    with self._lock:
      if row in self._seen:
        return  # Some are looked at first, to see how large they are.
      self._seen.add(row)
      self._counter.advance(1)
      if problem is not None:
        self.failed.append((str(self.ids[row]), problem.reason))
