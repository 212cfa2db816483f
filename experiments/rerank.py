"""Re-ranking: queries whose vote is split are looked at once more."""

from jax.sharding import Mesh

from visual_memory.reports import tables
from visual_memory.reports.sections import rerank as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.rerank import rerank as rerank_lib
from visual_memory.studies import opening, reranking
from visual_memory.studies.reranking import Settings
from visual_memory.studies.study import finish_study, open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Votes, asks where the vote is split, and says what that changed."""
  section = config.rerank
  if section.by != "local":
    opening.require_words("A prompt", config.memory, config.data)
  study = open_study(config, workdir, mesh, max_k=section.k)
  vote = dict(voter=section.voter, k=section.k, num_classes=study.num_classes)
  with study.clock("vote"):
    votes, margin = rerank_lib.split_votes(study.near, **vote)
    tune_votes, tune_margin = rerank_lib.split_votes(study.tune_near, **vote)
  threshold = rerank_lib.choose_margin(
    tune_margin, tune_votes == study.tune.labels, promise=section.promise
  )
  asked = rerank_lib.split_queries(
    margin, threshold=threshold, most=section.most
  )
  questions = reranking.questions(
    section, study, study.near, study.queries, asked, votes,
    study.queries_source,
  )  # fmt: skip
  reranker, chosen = reranking.reranker(
    section, workdir, study, tune_votes, tune_margin, threshold
  )
  with study.clock("rerank"):
    answers = reranker(questions, repeats=section.repeats)
  found = rerank_lib.summarize(
    questions.choices,
    answers,
    asked=asked,
    votes=votes,
    labels=study.labels,
    neighbor_labels=study.near.labels,
    prices=section.prices,
  )
  (margin,) = tables.or_none([threshold])  # None: every query is asked about.
  values = {"threshold": margin, **chosen, **found.values()}
  who = "The local re-ranker" if section.by == "local" else section.model
  finish_study(
    workdir,
    config,
    study,
    sections=[
      sections.section(found, who=who, k=section.k, threshold=threshold)
    ],
    values={"rerank": values},
  )
