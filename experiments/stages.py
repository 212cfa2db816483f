"""The stages that experiments share: from config sections to values."""

import contextlib
import hashlib
import json
import pathlib
import time

from absl import logging

from visual_memory import distributed
from visual_memory.data import selection, sources
from visual_memory.encoders import embed as embed_lib
from visual_memory.encoders import encoder as encoder_lib
from visual_memory.memory.memory import VisualMemory
from visual_memory.reports import gallery, results
from visual_memory.retrieval import exact, neighbor_files
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
  """Searches one memory, building it and keeping answers on disk."""

  def __init__(self, embedded, mesh, cache_dir, retrieval):
    """Nothing is put on the devices before the first search."""
    self._embedded = embedded
    self._mesh = mesh
    self._cache_dir = pathlib.Path(cache_dir) / "neighbors"
    self._retrieval = retrieval
    self._memory = None

  def __call__(self, queries, k, *, leave_one_out):
    """The k neighbors of each query, from the cache if they are there."""
    path = self._cache_dir / f"{self._key(queries, k, leave_one_out)}.npz"
    row_ids = self._embedded.ids
    if distributed.everyone(path.exists()):
      return neighbor_files.load_neighbors(path, row_ids)
    if self._memory is None:
      self._memory = VisualMemory.from_embedded(
        self._embedded, mesh=self._mesh, precision=self._retrieval.precision
      )
    near = exact.search(
      queries.embeddings,
      self._memory,
      k=min(k, len(self._memory) - int(leave_one_out)),
      exclude_self=queries.ids if leave_one_out else None,
    )
    if distributed.is_lead():
      neighbor_files.save_neighbors(path, near, row_ids)
    return near

  def _key(self, queries, k, leave_one_out) -> str:
    """A hash of everything that the answer depends on."""
    digest = hashlib.sha256(json.dumps([k, leave_one_out]).encode())
    for embedded in (self._embedded, queries):
      digest.update(embedded.fingerprint.encode())
      digest.update(embedded.embeddings.tobytes())
      digest.update(embedded.labels.tobytes())
      digest.update("\0".join(embedded.ids).encode())
    return digest.hexdigest()[:32]


def load_encoder(section):
  """The encoder of a config's `encoder` section."""
  values = section.to_dict()
  options = values.pop("options")
  return encoder_lib.load_encoder(**values, **options)


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


def tuning_rows(embedded, fraction, seed):
  """The rows of a memory whose ids fall on the tuning side."""
  mask = selection.tune_mask(embedded.ids, fraction=fraction, seed=seed)
  if not mask.any():
    mask[:] = True  # A memory of a few rows is tuned on all of them.
  return embedded.take(mask)


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


def skipped(*reports):
  """The images that could not be read, each named once."""
  return tuple(
    results.Skipped(name=name, reason=reason)
    for name, reason in dict.fromkeys(
      (image.id, image.reason) for report in reports for image in report.skipped
    )
  )
