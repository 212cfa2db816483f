"""What an editable memory is, in one run: build, ask, add, remove, explain.

A memory of some classes of the bundled digits is asked about all of them; the
missing classes are added, then one class is removed again. Nothing is trained.
"""

import dataclasses

from jax.sharding import Mesh

from visual_memory.data import selection
from visual_memory.reports import page
from visual_memory.reports.sections import evaluation
from visual_memory.reports.workdir import Clock, Workdir
from visual_memory.studies import (
  cached_search,
  finishing,
  opening,
  shown,
  story,
)
from visual_memory.studies.study_settings import StudySettings
from visual_memory.voting import weighting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """The classes that come late, and the one that goes."""

  late_classes: tuple[str, ...]
  removed_class: str


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Tells the story and writes its report into the workdir."""
  cached_search.require_exact(config.retrieval)
  clock = Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  encoder = opening.load_encoder(config.encoder)
  rows_source = opening.open_source(config.memory)
  queries_source = opening.open_source(config.data)
  cache_dir = opening.cache_dir(config, workdir)
  with clock("embed"):
    (rows, rows_report), (queries, queries_report) = (
      opening.embed(encoder, source, mesh, cache_dir, config.embed)
      for source in (rows_source, queries_source)
    )
  late_names = " and ".join(config.late_classes)
  watched = {*config.late_classes, config.removed_class}
  told = story.Story(
    queries,
    groups={
      "the others": [n for n in queries.class_names if n not in watched],
      late_names: config.late_classes,
      config.removed_class: [config.removed_class],
    },
    setting=weighting.setting(config.voting.voter),
    ks=config.voting.ks,
    k=config.voting.k,
  )
  late = selection.only_classes(rows_source, config.late_classes).ids
  known = ~selection.among(rows.ids, late)
  memory = cached_search.exact_memory(rows.take(known), mesh, config.retrieval)
  told.tell(
    f"{len(memory)} images of {rows.num_classes - len(config.late_classes)}"
    f" classes are in memory; {late_names} are unknown to it.",
    memory,
  )
  add = lambda m: m.add(rows.take(~known))
  memory = told.edit(f"add {late_names}", memory, add)
  near, found = told.results(memory)
  told.explain_one(near, found)
  told.edit(
    f"remove {config.removed_class}",
    memory,
    lambda m: m.remove(m.ids_with_label(config.removed_class)),
  )
  items = shown.explain(
    near,
    weighting.weights(near.similarities[:, : found.k], told.setting),
    found,
    queries,
    rows_source=rows_source,
    queries_source=queries_source,
    **vars(config.gallery),
  )
  finishing.finish_run(
    workdir,
    config,
    evaluation.sections(found, edits=told.edits, gallery=items),
    evaluation.values(found, edits=told.edits),
    tiles=evaluation.tiles(found),
    timings=clock.seconds,
    counts=found.counts()
    | {"memory_rows": len(memory), "redone_queries": near.num_redone},
    skipped=page.skipped(rows_report, queries_report),
    fingerprint=found.neighbors_fingerprint,
    env=env,
  )
