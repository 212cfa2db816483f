"""What bags of SIFT words give, as a section of a page."""

from typing import Any

from visual_memory.analysis.choosing import Choice, Scored
from visual_memory.reports.page import Section
from visual_memory.reports.tables import Table, percent
from visual_memory.types import EmbeddedSet


def section(choice: Choice, scored: Scored, svm: float) -> Section:
  """The vote, chosen on tuning rows, beside the published classifier."""
  found = scored.accuracy
  interval = f"{percent(found.low)} to {percent(found.high)}"
  rows = (
    (f"{choice.name} vote, k = {choice.k}", percent(found.mean), interval),
    ("support vector machine, as published", percent(svm), ""),
  )
  return Section(
    title="SIFT",
    prose=(
      "Voter and k were chosen on tuning rows of the memory; the queries were"
      " scored once. Pictures without features are rows of zeros. Percent.",
    ),
    tables=(
      Table(
        header=("classifier", "accuracy", "95 % interval"), rows=rows,
        name="sift",
      ),
    ),
  )  # fmt: skip


def counts(rows: EmbeddedSet, queries: EmbeddedSet) -> dict[str, int]:
  """Pictures, and those in which nothing was found."""
  return {
    "memory_rows": len(rows),
    "test_images": len(queries),
    "without_features": int((~rows.embeddings.any(axis=1)).sum())
    + int((~queries.embeddings.any(axis=1)).sum()),
  }


def values(choice: Choice, scored: Scored, svm: float) -> dict[str, Any]:
  """Every number."""
  return {
    "chosen": {
      "voter": choice.name,
      "k": choice.k,
      "accuracy": scored.accuracy.mean,
      "low": scored.accuracy.low,
      "high": scored.accuracy.high,
    },
    "svm_accuracy": svm,
  }
