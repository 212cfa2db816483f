"""Re-ranking: accuracy without and with, its bound, cost and failures."""

import math

from visual_memory.analysis.intervals import mcnemar
from visual_memory.reports import tables
from visual_memory.reports.page import Section
from visual_memory.reports.tables import Table, percent
from visual_memory.rerank.rerank import Summary

_MEANING = {
  "ok": "used as they are",
  "repaired": "used after repair",
  "outside": "a label that was not offered",
  "empty": "no text",
  "too_long": "longer than allowed",
  "failed": "none after all attempts",
  "unasked": "the budget was spent",
}


def section(found: Summary, *, who: str, k: int, threshold: float) -> Section:
  """What re-ranking did.

  Args:
    found: the summary.
    who: answered, in words.
    k: neighbors shown.
    threshold: the margin below which was asked.
  """
  percent_of = lambda value: "" if value is None else percent(value)
  nothing = ()
  if found.asked and not found.usable:
    nothing = (
      "No answer could be used: what stands with re-ranking is the votes'"
      " accuracy alone.",
    )
  return Section(
    title="Re-ranking",
    finding=(
      f"Of {found.asked:,} queries that were asked about again {found.fixed:,}"
      f" were put right and {found.broken:,} put wrong: accuracy goes from"
      f" {percent(found.without)} to {percent(found.with_reranking)} %"
      f" ({tables.p_words(mcnemar(found.fixed, found.broken))})."
    ),
    prose=(
      f"{who} saw the {k} nearest neighbors of"
      + (
        f" {found.asked:,} queries whose vote was won by less than"
        f" {threshold:.3g} of its weight, a margin that tuning queries chose."
        if math.isfinite(threshold)
        else " every query: tuning queries chose to leave out no clear vote."
      )
      + " Everywhere else, and where an answer could not be"
      " used, the vote stands.",
      *nothing,
    ),
    tables=(
      Table(
        header=("", "accuracy (%)"),
        rows=(
          ("without re-ranking", percent(found.without)),
          ("with re-ranking", percent(found.with_reranking)),
          (
            f"answers alone, of the {found.asked:,} asked",
            percent_of(found.alone),
          ),
          ("votes alone, of the same", percent_of(found.votes_there)),
          ("if every answer were right", percent(found.bound)),
          (f"hit rate at {k}, of all queries", percent(found.hit_rate)),
          *(() if found.agreement is None else (
            ("agreement of repeats", percent(found.agreement)),
          )),
        ),
        name="reranking",
      ),
      Table(
        header=("", "number"),
        rows=(
          ("asked", f"{found.asked:,}"),
          ("usable answers", f"{found.usable:,}"),
          ("put right", f"{found.fixed:,}"),
          ("put wrong", f"{found.broken:,}"),
          *(
            (f"answers: {_MEANING[status]}", f"{count:,}")
            for status, count in found.statuses.items()
            if count
          ),
          *(() if not found.attempts else (
            ("requests", f"{found.attempts:,}"),
            ("input tokens", f"{found.input_tokens:,}"),
            ("output tokens", f"{found.output_tokens:,}"),
            ("cost", f"{found.cost:.4f}"),
          )),
        ),
        name="reranking_answers",
      ),
    ),
  )  # fmt: skip
