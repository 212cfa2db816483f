"""New classes join a memory; old and new queries before and after."""

import time

import jax
from jax.sharding import Mesh

from visual_memory.analysis import choosing, lifelong
from visual_memory.memory.matching import match_classes
from visual_memory.reports.sections import lifelong as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.retrieval import exact
from visual_memory.studies import cached_search
from visual_memory.studies.class_sequence import JoiningSettings as Settings
from visual_memory.studies.class_sequence import new_rows
from visual_memory.studies.study import finish_study, open_study
from visual_memory.voting.queries import held_out_queries
from visual_memory.voting.weighting import published_settings


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Runs the experiment and writes its report into the workdir."""
  cached_search.require_exact(config.retrieval)
  study = open_study(config, workdir, mesh)
  ks = study.usable(config.voting.ks)
  added, asked = new_rows(config, workdir, mesh, study)
  choices = choosing.choose_each(
    study.tuning,
    settings=config.voting.settings(),
    ks=ks,
    num_classes=study.num_classes,
  )
  with study.clock("build"):
    memory = cached_search.exact_memory(study.embedded, mesh, config.retrieval)
  start = time.perf_counter()
  memory = memory.add(added, donate=True)
  jax.block_until_ready(memory.rows.embeddings)
  seconds = time.perf_counter() - start

  def score(near, queries, memory_name, group):
    class_names, labels = match_classes(memory.class_names, queries)
    return lifelong.scored(
      held_out_queries(near, labels, queries.ids),
      memory=memory_name,
      queries=group,
      choices=choices,
      published=published_settings(),
      ks=ks,
      num_classes=len(class_names),
      seed=config.seed,
    )

  # Rows that are asked about are left out, before and after alike.
  search = lambda queries, are_rows: exact.search(
    queries.embeddings, memory, k=max(ks),
    exclude_self=queries.ids if are_rows else None,
  )  # fmt: skip
  with study.clock("search after"):
    known = search(study.queries, study.leave_one_out)
    new = search(asked, asked is added)
  found = [
    score(study.near, study.queries, "known", "known"),
    score(known, study.queries, "known + new", "known"),
    score(new, asked, "known + new", "new"),
  ]
  parts, values = sections.sections(
    found,
    num_known=len(study.embedded),
    num_new=len(added),
    seconds=seconds,
    seed=config.seed,
  )
  finish_study(workdir, config, study, sections=parts, values=values)
