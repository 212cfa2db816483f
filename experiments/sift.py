"""The baseline without learning: bags of SIFT words, by vote and by SVM."""

import dataclasses

from jax.sharding import Mesh

from visual_memory.analysis import choosing
from visual_memory.encoders import sift as sift_lib
from visual_memory.probes import support_vectors
from visual_memory.reports.sections import sift as sections
from visual_memory.reports.workdir import Clock, Workdir
from visual_memory.studies import cached_search, finishing, opening
from visual_memory.studies.study_settings import StudySettings
from visual_memory.voting import queries as queries_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
  """Words of the vocabulary; features of each picture."""

  num_words: int
  num_features: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory of bags of words."""

  sift: Words


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Words from the memory's pictures; its rows and the queries count them."""
  clock = Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  rows_source, queries_source = map(
    opening.open_source, (config.memory, config.data)
  )
  options = {"num_features": config.sift.num_features}
  with clock("vocabulary"):
    words = sift_lib.vocabulary(
      rows_source, num_words=config.sift.num_words, seed=config.seed, **options
    )
  with clock("embed"):
    counts = [
      sift_lib.word_counts(source, words, **options)
      for source in (rows_source, queries_source)
    ]
    rows = sift_lib.bags(counts[0], rows_source, words, **options)
    queries = sift_lib.bags(counts[1], queries_source, words, **options)
  cache_dir = opening.cache_dir(config, workdir)
  search = cached_search.Search(rows, mesh, cache_dir, config.retrieval)
  most = len(rows) - 1  # A tuning row is no neighbor of its own.
  ks = tuple(k for k in config.voting.ks if k <= most) or (most,)
  with clock("search"):
    held_out = queries_lib.held_out_queries(
      search(queries, max(ks), leave_one_out=False), queries.labels, queries.ids
    )
    tune = rows.take(opening.tuning_mask(config, rows.ids))
    tuning = queries_lib.tuning_queries(
      search(tune, max(ks), leave_one_out=True), tune.labels, tune.ids,
      held_out=held_out,
    )  # fmt: skip
  with clock("vote"):
    choice = choosing.choose(
      tuning, settings=config.voting.settings(), ks=ks,
      num_classes=rows.num_classes,
    )  # fmt: skip
    scored = choosing.score(
      held_out, choice, num_classes=rows.num_classes, seed=config.seed
    )
  with clock("svm"):
    svms = [
      support_vectors.svm_accuracy(*learned, *asked)
      for learned, asked in (
        ((rows.embeddings, rows.labels), (queries.embeddings, queries.labels)),
        map(support_vectors.with_features, counts, (rows.labels,
                                                    queries.labels)),
      )
    ]  # fmt: skip
  finishing.finish_run(
    workdir,
    config,
    (sections.section(choice, scored, *svms),),
    sections.values(choice, scored, *svms),
    timings=clock.seconds,
    counts=sections.counts(rows, queries),
    env=env,
  )
