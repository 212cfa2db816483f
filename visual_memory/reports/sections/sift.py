"""What bags of SIFT words give, as a section of a page."""

from typing import Any

from visual_memory.analysis.choosing import Choice, Scored
from visual_memory.reports import tables
from visual_memory.reports.page import Section
from visual_memory.reports.tables import Table, percent
from visual_memory.types import EmbeddedSet


def section(
  choice: Choice, scored: Scored, svm: float | None, published: float | None
) -> Section:
  """The vote, chosen on tuning rows, beside the published classifier.

  Args:
    choice: the voter and k.
    scored: the queries by them.
    svm: accuracy of the classifier on the same rows.
    published: on raw counts, of the pictures that have features.
  """
  found = scored.accuracy
  rows = (
    (f"{choice.name} vote, k = {choice.k}", tables.interval(found)),
    ("support vector machine, the same rows", percent(svm)),
    (
      "support vector machine, raw counts, pictures without features left out"
      " (as published)",
      percent(published),
    ),
  )
  return Section(
    title="SIFT",
    finding=(
      f"The {choice.name} vote of the {choice.k} nearest bags of words is right"
      f" for {tables.share(found)}, the support vector machine for"
      f" {percent(svm)} %."
    ),
    prose=(
      "Voter and k were chosen on tuning rows of the memory; the queries were"
      " scored once. Pictures without features are rows of zeros. Percent.",
    ),
    tables=(
      Table(
        header=("classifier", "accuracy (95 %)"), rows=rows,
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


def values(
  choice: Choice, scored: Scored, svm: float | None, published: float | None
) -> dict[str, Any]:
  """Every number."""
  return {
    "chosen": {
      "voter": choice.name,
      "k": choice.k,
      "accuracy": vars(scored.accuracy),
    },
    "svm_accuracy": svm,
    "svm_as_published": published,
  }
