"""Re-ranking: accuracy without and with, its bound, cost and failures."""

from visual_memory.reports.formats import percent
from visual_memory.reports.page import Section
from visual_memory.reports.tables import Table
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
  agreement = "" if found.agreement is None else percent(found.agreement)
  return Section(
    title="Re-ranking",
    prose=(
      f"{who} saw the {k} nearest neighbors of {found.asked:,} queries whose"
      f" vote was won by less than {threshold:.3g} of its weight, a margin that"
      " tuning queries chose. Everywhere else, and where an answer could not be"
      " used, the vote stands.",
    ),
    tables=(
      Table(
        header=("", "accuracy (%)"),
        rows=(
          ("without re-ranking", percent(found.without)),
          ("with re-ranking", percent(found.with_reranking)),
          ("if every answer were right", percent(found.bound)),
          (f"hit rate at {k}, of all queries", percent(found.hit_rate)),
          ("agreement of repeats", agreement),
        ),
        name="reranking",
      ),
      Table(
        header=("", "number"),
        rows=(
          ("put right", f"{found.fixed:,}"),
          ("put wrong", f"{found.broken:,}"),
          *(
            (f"answers: {_MEANING[status]}", f"{count:,}")
            for status, count in found.statuses.items()
          ),
          ("requests", f"{found.attempts:,}"),
          ("input tokens", f"{found.input_tokens:,}"),
          ("output tokens", f"{found.output_tokens:,}"),
          ("cost", f"{found.cost:.4f}"),
        ),
        name="reranking_answers",
      ),
    ),
  )
