"""Seconds and bytes: of a memory and a linear probe, of queries and edits."""

import dataclasses
import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from visual_memory import files
from visual_memory.analysis.latency import Latency, time_calls
from visual_memory.data import selection
from visual_memory.encoders.embedding import embed as embed_lib
from visual_memory.memory.memory import VisualMemory
from visual_memory.probes import logistic_regression
from visual_memory.reports.sections.cost import Cost
from visual_memory.reports.sections.latency import Measured
from visual_memory.reports.workdir import Workdir
from visual_memory.retrieval import exact
from visual_memory.retrieval.scann import ScannIndex
from visual_memory.store.store import Store
from visual_memory.studies import cached_search
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import StudySettings
from visual_memory.types import EmbeddedSet
from visual_memory.voting import vote


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeSettings:
  """How the probe is fitted, by L-BFGS."""

  strength: float
  max_steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimingSettings:
  """What is timed.

  Attributes:
    batches: (queries of a call, calls).
    repeats: calls of everything else.
    num_embedded: images that time the encoder.
  """

  batches: tuple[tuple[int, int], ...]
  repeats: int
  num_embedded: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, a probe, and what is timed."""

  probe: ProbeSettings
  timing: TimingSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
  """What memory and probe are both given to do.

  Attributes:
    known: the labelled rows.
    others: those of all classes but the last.
    own: those of the last class.
    asked: the queries, [Q, D].
    labels: their classes, [Q].
    num_classes: C, of the known rows.
  """

  known: EmbeddedSet
  others: EmbeddedSet
  own: EmbeddedSet
  asked: np.ndarray
  labels: np.ndarray
  num_classes: int

  @property
  def left(self) -> np.ndarray:
    """The queries that are of another class than the last, [Q] bool."""
    return self.labels != self.num_classes - 1


def work_of(study: Study) -> Work:
  """A study's rows and queries; its last class is the one that changes.

  Raises:
    ValueError: all rows are of the last class, or none is.
  """
  known = study.embedded.take(study.embedded.labels >= 0)
  inside = known.labels == len(known.class_names) - 1
  if inside.all() or not inside.any():
    raise ValueError(
      "The last class is removed and added again: the memory needs rows of it"
      " and rows of another."
    )
  return Work(
    known=known,
    others=known.take(~inside),
    own=known.take(inside),
    asked=study.queries.embeddings,
    labels=study.labels,
    num_classes=len(known.class_names),
  )


def embedding_s(study: Study, mesh: Mesh, *, count: int, seed: int) -> float:
  """Seconds to embed an image, so many at once."""
  some = selection.sample(study.rows_source, count, seed=seed)
  timed = time_calls(
    lambda: embed_lib.embed(study.encoder, some, mesh=mesh),
    repeats=1, warm_up=1, per_call=len(some),
  )  # fmt: skip
  return 1 / timed.per_second


def memory_cost(config: Settings, work: Work, mesh: Mesh) -> Cost:
  """The memory's costs."""
  setting = config.voting.settings()[config.voting.voter]
  k, timing = config.voting.k, config.timing

  def answer(memory, asked):
    near = exact.search(asked, memory, k=k)
    return vote.predict(near, [setting], ks=(k,), num_classes=work.num_classes)[
      0
    ][0]

  build = lambda rows: _ready(VisualMemory.from_embedded(rows, mesh=mesh))
  once = lambda call: _timed(call, timing.repeats)
  whole, less = build(work.known), build(work.others)
  return Cost(
    learn=once(lambda: build(work.known)),
    ask=answered(lambda part: answer(whole, part), work.asked, timing.batches),
    num_bytes=work.known.embeddings.nbytes + work.known.labels.nbytes,
    add_class=once(lambda: _ready(less.add(work.own))),
    remove_class=once(lambda: _ready(whole.remove(work.own.ids))),
    **_accuracies(lambda: answer(whole, work.asked),
                  lambda: answer(less, work.asked[work.left]), work),
  )  # fmt: skip


def probe_cost(config: Settings, work: Work) -> Cost:
  """The probe's costs; every change is a new fit."""
  options, timing = config.probe, config.timing
  fit = lambda rows, classes: logistic_regression.fit(
    rows.embeddings, rows.labels, strength=options.strength,
    num_classes=classes, max_steps=options.max_steps,
  )  # fmt: skip
  count = work.num_classes
  fitted, less = fit(work.known, count), fit(work.others, count - 1)
  once = lambda call: _timed(call, timing.repeats)
  all_rows = once(lambda: fit(work.known, count))
  return Cost(
    learn=all_rows,
    ask=answered(fitted.predict, work.asked, timing.batches),
    num_bytes=fitted.weights.nbytes + fitted.bias.nbytes,
    add_class=all_rows,  # From nine classes to ten is a fit of the ten.
    remove_class=once(lambda: fit(work.others, count - 1)),
    **_accuracies(lambda: fitted.predict(work.asked),
                  lambda: less.predict(work.asked[work.left]), work),
  )  # fmt: skip


def answered(
  answer: Callable[[np.ndarray], Any],
  asked: np.ndarray,
  batches: Sequence[tuple[int, int]],
) -> dict[int, Latency]:
  """How long answers take, by how many are asked for at once.

  Args:
    answer: of queries [B, D].
    asked: the queries, [Q, D].
    batches: (B, calls); those with B over Q are left out.
  """
  return {
    size: time_calls(
      lambda part=asked[:size]: answer(part), repeats=repeats, per_call=size
    )
    for size, repeats in batches
    if size <= len(asked)
  }


class Held:
  """A memory that edits in place, as a store does."""

  def __init__(self, memory: VisualMemory):
    """Starts with this memory, whose buffers it takes."""
    self._memory = memory

  def add(self, rows: EmbeddedSet) -> None:
    """Adds rows."""
    self._memory = _ready(self._memory.add(rows, donate=True))

  def remove(self, ids: np.ndarray) -> None:
    """Removes rows."""
    self._memory = _ready(self._memory.remove(ids, donate=True))

  def relabel(self, ids: np.ndarray, labels: np.ndarray) -> None:
    """Relabels rows."""
    self._memory = _ready(self._memory.relabel(ids, labels, donate=True))


def edited(
  where: Any, embedded: EmbeddedSet, repeats: int
) -> Mapping[str, Latency]:
  """The latency of one row removed and added again, and relabelled.

  Args:
    where: a Store or a Held.
    embedded: its rows.
    repeats: edits of each kind.
  """
  row = embedded.take([len(embedded) // 2])

  def there_and_back():
    where.remove(row.ids)
    where.add(row)

  return {
    "remove a row and add it again": time_calls(
      there_and_back, repeats=repeats, per_call=2
    ),
    "relabel a row": time_calls(
      lambda: where.relabel(row.ids, row.labels), repeats=repeats, per_call=1
    ),
  }


def size_of(path: str | os.PathLike | None) -> int | None:
  """Bytes of a file or of everything below a directory; None without one."""
  if not path or not os.path.exists(path):
    return None
  return files.bytes_below(path)


def _accuracies(whole, less, work):
  """Accuracies with the last class and, of the other queries, without."""
  return {
    "accuracy": _right(whole(), work.labels),
    "accuracy_without": _right(less(), work.labels[work.left]),
  }


def _ready(memory):
  """The memory, once its rows are on the devices."""
  memory.rows.labels.block_until_ready()
  return memory


def _timed(call, repeats):
  return time_calls(call, repeats=repeats, per_call=1, warm_up=1)


def _right(predictions, labels):
  return float(np.mean(np.asarray(predictions) == labels))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
  """What is timed.

  Attributes:
    batches: (queries of a call, calls).
    edits: of each kind.
    images: embedded at once, to time the encoder.
  """

  batches: tuple[tuple[int, int], ...]
  edits: int
  images: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatencySettings(StudySettings):
  """A memory, and what is timed."""

  timing: Timing


def measured(
  config: LatencySettings, workdir: Workdir, mesh: Mesh, study: Study
) -> Measured:
  """All of it; ScaNN's queries too, where it is installed."""
  memory = cached_search.exact_memory(study.embedded, mesh, config.retrieval)
  k, asked = study.near.k, study.queries.embeddings
  ask = {"exact": lambda some: exact.search(some, memory, k=k)}
  recall = None
  if importlib.util.find_spec("scann"):
    with study.clock("build ScaNN"):
      index = ScannIndex.build(memory, k=k)
    ask["ScaNN"] = lambda some: index.search_unaudited(some, k)
    recall = index.search(asked[:256], k=k, num_audited=256).recall
  with study.clock("queries"):
    seconds = {
      how: answered(call, asked, config.timing.batches)
      for how, call in ask.items()
    }
  path = workdir.path / "store"
  shutil.rmtree(path, ignore_errors=True)
  with study.clock("store"):
    store = Store.create(path, study.embedded)
  with study.clock("edits"):
    changes = {
      place: edited(where, study.embedded, config.timing.edits)
      for place, where in (("memory", Held(memory)), ("store", store))
    }
  with study.clock("embed some"):
    one_image = embedding_s(
      study, mesh, count=config.timing.images, seed=config.seed
    )
  room = {
    "images as they came": size_of(config.memory.options.get("path")),
    "embeddings, float32": study.embedded.embeddings.nbytes,
    "the store (with ids, labels, checksums)": size_of(path),
  }
  shutil.rmtree(path)
  return Measured(
    num_rows=len(study.embedded),
    dim=study.embedded.embeddings.shape[1],
    answered=seconds,
    scann_recall=recall,
    edited=changes,
    embedding_s=one_image,
    room=room,
  )
