"""The stages that experiments share: from config sections to values."""

import contextlib
import copy
import hashlib
import json
import pathlib
import time

import numpy as np
from absl import logging

from visual_memory import distributed
from visual_memory.analysis import choosing as honest
from visual_memory.data import selection, sources
from visual_memory.encoders import encoder as encoder_lib
from visual_memory.encoders.embedding import embed as embed_lib
from visual_memory.memory.memory import VisualMemory
from visual_memory.reports import gallery
from visual_memory.retrieval import exact, neighbor_files, scann
from visual_memory.voting import weighting


class Clock:
  """Seconds of every stage; logs each as it ends."""

  def __init__(self, workdir):
    """Starts with no stage."""
    self.seconds = {}
    self._workdir = workdir

  @contextlib.contextmanager
  def __call__(self, stage: str):
    """Times one stage."""
    start = time.monotonic()
    yield
    self.seconds[stage] = time.monotonic() - start
    self._workdir.log(stage=stage, seconds=self.seconds[stage])
    if distributed.is_lead():
      logging.info("%s took %.1f s", stage, self.seconds[stage])


class Search:
  """Searches one memory, building it and keeping exact answers on disk.

  With retrieval.backend=scann the answers are approximate: they are not kept,
  and `audit` says what recall was measured.
  """

  def __init__(self, embedded, mesh, cache_dir, retrieval):
    """Nothing is put on the devices before the first search.

    Raises:
      ValueError: an unknown backend.
    """
    if retrieval.backend not in ("exact", "scann"):
      raise ValueError(
        f"There is no retrieval.backend {retrieval.backend!r}: choose exact or"
        " scann."
      )
    self.audit = {}
    self._embedded = embedded
    self._mesh = mesh
    self._cache_dir = pathlib.Path(cache_dir) / "neighbors"
    self._retrieval = retrieval
    self._memory = self._index = None

  def __call__(self, queries, k, *, leave_one_out):
    """The k neighbors of each query, from the cache if they are there."""
    k = min(k, len(self._embedded) - int(leave_one_out))
    if self._retrieval.backend == "scann":
      return self._approximate(queries, k, leave_one_out)
    name = self._key(queries, leave_one_out)
    row_ids = self._embedded.ids
    kept = self._kept(name, k)
    if distributed.everyone(bool(kept)):
      return neighbor_files.load_neighbors(kept[0], row_ids).first(k)
    near = exact.search(
      queries.embeddings,
      self._placed(),
      k=k,
      exclude_self=queries.ids if leave_one_out else None,
    )
    if distributed.is_lead():
      path = self._cache_dir / f"{name}-{k}.npz"
      neighbor_files.save_neighbors(path, near, row_ids)
    return near

  def _placed(self) -> VisualMemory:
    """The memory on the devices."""
    if self._memory is None:
      self._memory = VisualMemory.from_embedded(
        self._embedded, mesh=self._mesh, precision=self._retrieval.precision
      )
    return self._memory

  def _approximate(self, queries, k, leave_one_out):
    """What ScaNN finds; notes the least recall measured so far."""
    if self._index is None:
      self._index = scann.ScannIndex.build(self._placed(), k=k)
    found = self._index.search(
      queries.embeddings,
      k=k,
      exclude_self=queries.ids if leave_one_out else None,
      num_audited=self._retrieval.num_audited,
    )
    least = min(found.recall, self.audit.get("scann_recall_measured", 1.0))
    count = self.audit.get("audited_queries", 0) + found.num_audited
    self.audit = {"scann_recall_measured": least, "audited_queries": count}
    return found.neighbors

  def _kept(self, name, k) -> list[pathlib.Path]:
    """The files that hold at least these k neighbors, the smallest first."""
    files = {
      int(path.stem.rpartition("-")[2]): path
      for path in self._cache_dir.glob(f"{name}-*.npz")
    }
    return [files[most] for most in sorted(files) if most >= k]

  def _key(self, queries, leave_one_out) -> str:
    """A hash of everything that the answer depends on, but k."""
    about = [neighbor_files.FORMAT, leave_one_out]
    digest = hashlib.sha256(json.dumps(about).encode())
    for embedded in (self._embedded, queries):
      digest.update(embedded.fingerprint.encode())
      digest.update(embedded.embeddings.tobytes())
      digest.update(embedded.labels.tobytes())
      digest.update("\0".join(embedded.ids).encode())
    return digest.hexdigest()[:32]


def exact_memory(embedded, mesh, retrieval) -> VisualMemory:
  """The memory of an experiment that edits it, or needs exact answers.

  Raises:
    ValueError: an approximate backend was asked for.
  """
  if retrieval.backend != "exact":
    raise ValueError(
      "This experiment searches exactly: leave out"
      f" --config.retrieval.backend={retrieval.backend}."
    )
  return VisualMemory.from_embedded(
    embedded, mesh=mesh, precision=retrieval.precision
  )


def load_encoder(section):
  """The encoder of a config's `encoder` section."""
  values = section.to_dict()
  options = values.pop("options")
  return encoder_lib.load_encoder(**values, **options)


def with_encoder(config, section):
  """The same config with this `encoder` section."""
  own = copy.deepcopy(config)
  with own.unlocked():
    own.encoder = section
  return own


def open_source(section):
  """The source of a config's section; None if it names none."""
  if not section.source:
    return None
  options = section.options.to_dict()
  given = {key: value for key, value in options.items() if value is not None}
  source = sources.open_source(section.source, **given)
  if section.classes:
    source = selection.only_classes(source, section.classes)
  return source


def embed(encoder, source, mesh, cache_dir, section):
  """The EmbeddedSet of a source and the report of how it went."""
  return embed_lib.embed_with_report(
    encoder,
    source,
    mesh=mesh,
    cache_dir=pathlib.Path(cache_dir) / "embeddings",
    batch_size=section.batch_size,
    num_workers=section.num_workers,
  )


def voter_settings(section):
  """The voters of a config's `voting` section, with hyper-parameters."""
  hyper = {
    "distance": {"exponent": section.exponent},
    "softmax": {"temperature": section.temperature},
    "rank": {"offset": section.offset},
  }
  return {
    voter: weighting.setting(voter, **hyper.get(voter, {}))
    for voter in section.voters
  }


def among(ids, chosen):
  """Mask of the ids that are among the chosen ones."""
  chosen = set(chosen)
  return np.array([row_id in chosen for row_id in ids], bool)


def chosen(config, study):
  """The voter and k that the tuning rows prefer, among the config's."""
  return honest.choose(
    study.tuning,
    settings=voter_settings(config.voting),
    ks=[k for k in config.voting.ks if k <= study.near.k],
    num_classes=study.num_classes,
  )


def image_of(source):
  """A function from an id to its image; to None where there are no images."""
  if source is None:
    return lambda _: None
  place = {row_id: row for row, row_id in enumerate(source.ids)}
  return lambda row_id: source[place[row_id]].image


def explain(
  near, weights, found, queries, *, rows_source, queries_source, right, wrong
):
  """Gallery items of some right and some wrong queries."""
  shown = gallery.choose_queries(
    found.labels, found.predictions, num_right=right, num_wrong=wrong
  )
  row_of = {row_id: row for row, row_id in enumerate(rows_source.ids)}
  query_of = {query: row for row, query in enumerate(queries_source.ids)}
  return gallery.build_gallery(
    near,
    weights,
    shown,
    labels=found.labels,
    predictions=found.predictions,
    ids=queries.ids,
    class_names=found.class_names,
    query_image=lambda q: queries_source[query_of[queries.ids[q]]].image,
    memory_image=lambda row_id: rows_source[row_of[row_id]].image,
  )
