"""What every analysis starts from and ends with: a study and its report.

  study = open_study(config, workdir, mesh, rows_near=True)
  found = choosing.choose(study.tuning, ...)
  finish_study(workdir, config, study, sections=sections, values=values)

A study is one memory and one set of queries, retrieved once; everything after
is a pure function of the neighbors.
"""

import dataclasses
import resource
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.data import selection
from visual_memory.data.image_source import ImageSource
from visual_memory.encoders.embedding.embed import EmbedReport
from visual_memory.encoders.encoder import Encoder
from visual_memory.memory.matching import match_classes
from visual_memory.reports import page
from visual_memory.reports.workdir import Clock, Workdir, open_workdir
from visual_memory.retrieval.neighbor_files import neighbors_fingerprint
from visual_memory.studies import cached_search, filed_study, opening
from visual_memory.studies.study_settings import StudySettings, as_values
from visual_memory.types import UNLABELED, EmbeddedSet, Neighbors
from visual_memory.voting import metrics, queries, weighting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
  """A memory, its queries and their neighbors; host arrays throughout.

  Attributes:
    encoder: what made the embeddings; None where they came from files.
    rows_source: the memory's images; None where they came from files.
    queries_source: the queries' images; likewise.
    embedded: the memory's rows. Without an encoder D is 0.
    queries: the test queries, labelled among their own class names.
    labels: their true classes among class_names, [Q].
    class_names: the memory's, then those that the queries alone have.
    near: the neighbors of the test queries, [Q, k].
    tune: the memory's tuning rows; None where there are none or none asked.
    tune_near: their neighbors, themselves left out.
    rows_near: all rows' neighbors, themselves left out, [N, k]; if asked for.
    search: searches the memory, or remembers: search(queries, k,
      leave_one_out=...).
    embed_reports: how embedding went, one for each source.
    clock: times stages: `with study.clock("vote")`.
    env: what the run depends on.
  """

  encoder: Encoder | None
  rows_source: ImageSource | None
  queries_source: ImageSource | None
  embedded: EmbeddedSet
  queries: EmbeddedSet
  labels: np.ndarray
  class_names: tuple[str, ...]
  near: Neighbors
  tune: EmbeddedSet | None
  tune_near: Neighbors | None
  rows_near: Neighbors | None
  search: cached_search.Search | cached_search.NoSearch
  embed_reports: tuple[EmbedReport, ...]
  clock: Clock
  env: Mapping[str, Any]

  @property
  def num_classes(self) -> int:
    """C, over memory and queries."""
    return len(self.class_names)

  @property
  def held_out(self) -> queries.HeldOutQueries:
    """The test queries, to be scored."""
    return queries.held_out_queries(self.near, self.labels, self.queries.ids)

  @property
  def tuning(self) -> queries.TuningQueries:
    """The tuning rows, which alone may choose.

    Raises:
      ValueError: there are none.
    """
    if self.tune is None:
      raise ValueError(
        "There are no tuning rows: the memory is too small for"
        " voting.tune_fraction, or none were asked for."
      )
    return queries.tuning_queries(
      self.tune_near, self.tune.labels, self.tune.ids, held_out=self.held_out
    )

  @property
  def leave_one_out(self) -> bool:
    """Whether the queries are rows of the memory."""
    return self.queries_source is self.rows_source

  @property
  def learning(self) -> np.ndarray:
    """Mask of the memory's rows beside the tuning rows, [N].

    Raises:
      ValueError: there are none, as where a few rows all tune.
    """
    mask = np.ones(len(self.embedded), bool)
    if self.tune is not None:
      mask = ~selection.among(self.embedded.ids, self.tune.ids)
    if not mask.any():
      raise ValueError(
        "No row is left beside the tuning rows: give the memory more rows, or"
        " change voting.tune_fraction."
      )
    return mask

  def usable(self, ks: Sequence[int], *, beyond: int = 0) -> tuple[int, ...]:
    """Those of the ks for which every query has neighbors; else the most.

    Args:
      ks: numbers of neighbors that are asked for.
      beyond: how many more each needs.

    Raises:
      ValueError: a query has no neighbor, or none beyond.
    """
    found = (self.near, self.tune_near, self.rows_near)
    most = min(near.k for near in found if near is not None) - beyond
    if most < 1:
      raise ValueError(
        f"A memory of {len(self.embedded)} rows has too few neighbors for"
        f" {1 + beyond} of each query: give it more rows."
      )
    return tuple(int(k) for k in ks if k <= most) or (most,)

  @property
  def absent_classes(self) -> list[int]:
    """Classes of the queries that the memory has no row of."""
    asked = np.unique(self.labels[self.labels >= 0])
    return np.setdiff1d(asked, self.embedded.labels).tolist()


def open_study(
  config: StudySettings,
  workdir: Workdir | None = None,
  mesh: Mesh | None = None,
  *,
  max_k: int | None = None,
  tune: bool = True,
  rows_near: bool = False,
) -> Study:
  """The study that settings describe, retrieved or remembered.

  Without `config.data`, the memory's rows are the queries, each left out of
  its own neighbors; its tuning rows, if asked for, are then not scored.

  Args:
    config: the settings.
    workdir: of the run; by default a temporary one.
    mesh: the devices; by default all.
    max_k: neighbors of each query; by default the largest of voting.ks.
    tune: whether to retrieve for the tuning rows.
    rows_near: whether to retrieve for every row of the memory.

  Raises:
    ValueError: the settings name no encoder or no memory.
  """
  workdir = workdir or temporary_workdir(config)
  mesh = mesh or distributed.make_mesh()
  max_k = max(config.voting.ks) if max_k is None else max_k
  if config.neighbors.queries:
    return Study(
      **filed_study.study_fields(
        config, workdir, mesh, max_k=max_k, tune=tune, rows_near=rows_near
      )
    )
  if config.encoder is None or config.memory is None:
    raise ValueError(
      "A study needs an encoder and a memory: give StudySettings both."
    )
  clock = Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  sources, reports = {}, []
  with clock("encoder"):
    encoder = opening.load_encoder(config.encoder)
  cache_dir = opening.cache_dir(config, workdir)
  sources["rows"] = opening.open_source(config.memory)
  sources["queries"] = opening.open_source(config.data) or sources["rows"]
  with clock("embed"):
    embedded, report = opening.embed(
      encoder, sources["rows"], mesh, cache_dir, config.embed
    )
    reports.append(report)
    asked, leave_one_out = embedded, True
    if sources["queries"] is not sources["rows"]:
      asked, report = opening.embed(
        encoder, sources["queries"], mesh, cache_dir, config.embed
      )
      reports.append(report)
      leave_one_out = False
  search = cached_search.Search(embedded, mesh, cache_dir, config.retrieval)
  tunes = np.zeros(len(embedded), bool)
  if tune:
    tunes = opening.tuning_mask(
      config, embedded.ids, leave_one_out=leave_one_out
    )
  tuning = embedded.take(tunes) if tunes.any() else None
  if leave_one_out and tuning is not None:
    asked = embedded.take(~tunes)
  with clock("search"):
    near = search(asked, max_k, leave_one_out=leave_one_out)
    all_near = (
      search(embedded, max_k, leave_one_out=True) if rows_near else None
    )
    tune_near = None
    if tuning is not None and rows_near:
      tune_near = all_near.take(tunes)
    elif tuning is not None:
      tune_near = search(tuning, max_k, leave_one_out=True)
  class_names, labels = match_classes(embedded.class_names, asked)
  return Study(
    encoder=encoder,
    rows_source=sources["rows"],
    queries_source=sources["queries"],
    embedded=embedded,
    queries=asked,
    labels=labels,
    class_names=class_names,
    near=near,
    tune=tuning,
    tune_near=tune_near,
    rows_near=all_near,
    search=search,
    embed_reports=tuple(reports),
    clock=clock,
    env=env,
  )


def needs_images(study: Study) -> None:
  """Raises ValueError if a study comes from files that hold neighbors alone."""
  parts = (study.encoder, study.rows_source, study.queries_source)
  if any(part is None for part in parts):
    raise ValueError(
      "This experiment needs images and an encoder, which neighbor files do"
      " not hold: name them in config.memory, config.data and config.encoder."
    )


def finish_study(
  workdir: Workdir,
  config: StudySettings,
  study: Study,
  *,
  sections: Sequence[page.Section],
  values: Mapping[str, Any],
  tiles: Mapping[str, str] | None = None,
  notes: Sequence[str] = (),
) -> None:
  """Writes report.json (the values and how they came about) and the page.

  report.json also holds the accuracy of the published voters at voting.ks,
  unless the values have an accuracy of their own.

  Args:
    workdir: of the run.
    config: the settings of the run.
    study: what was analysed.
    sections: of the page.
    values: of report.json, plain or NumPy.
    tiles: the numbers to see first on the page, {what: number}.
    notes: what is worth knowing about the queries, as sentences.
  """
  if "accuracy" not in values:
    values = {"accuracy": published_accuracy(config, study)} | dict(values)
  if not workdir.lead:
    return
  page.write_page(
    workdir.path,
    page.Page(
      title=config.title,
      sections=tuple(sections),
      config=as_values(config),
      tiles=tiles or {},
      timings=study.clock.seconds,
      counts=counts(study),
      skipped=page.skipped(*study.embed_reports),
      notes=tuple(notes),
      fingerprint=neighbors_fingerprint(study.near),
      env=study.env,
    ),
    values,
  )


def published_accuracy(
  config: StudySettings, study: Study
) -> dict[str, dict[int, float]]:
  """The four voters as published, at the settings' ks."""
  return metrics.accuracy_table(
    study.near,
    study.labels,
    settings=weighting.published_settings(),
    ks=study.usable(config.voting.ks),
    num_classes=study.num_classes,
  ).accuracy()


def counts(study: Study) -> dict[str, int | float]:
  """What was counted (and, of approximate search, measured) on the way."""
  return {
    "queries": len(study.labels),
    "unlabeled_queries": int(np.sum(study.labels == UNLABELED)),
    "absent_class_queries": int(
      np.isin(study.labels, study.absent_classes).sum()
    ),
    "memory_rows": len(study.embedded),
    "tuning_rows": 0 if study.tune is None else len(study.tune),
    "redone_queries": study.near.num_redone,
    **study.search.audit,
    "images_embedded": sum(
      report.num_images - report.num_reused for report in study.embed_reports
    ),
    # Linux counts KiB.
    "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    // 1024,
  }


def temporary_workdir(config: StudySettings) -> Workdir:
  """A workdir for a study that nobody keeps."""
  return open_workdir(tempfile.mkdtemp(prefix="study_"), as_values(config))
