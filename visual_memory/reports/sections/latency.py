"""How fast and how large a memory is (appendix K)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from visual_memory.analysis.latency import Latency
from visual_memory.reports.page import Section
from visual_memory.reports.tables import Table, percent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
  """One encoder's memory.

  Attributes:
    num_rows: N.
    dim: D.
    answered: by backend, then queries of a call.
    scann_recall: of ScaNN's answers; None where it was not asked.
    edited: by place, then edit.
    embedding_s: seconds of an image, many at once.
    room: bytes by what they hold; None where there is nothing.
  """

  num_rows: int
  dim: int
  answered: Mapping[str, Mapping[int, Latency]]
  scann_recall: float | None
  edited: Mapping[str, Mapping[str, Latency]]
  embedding_s: float
  room: Mapping[str, int | None]


def compared(found: Mapping[str, Measured]) -> list[Section]:
  """One line an encoder (table 10); none where there is one encoder alone."""
  if len(found) < 2:
    return []
  size = lambda one: one.room["embeddings, float32"]
  first = lambda one: min(one.answered["exact"])
  return [
    Section(
      title="Encoders compared",
      prose=("All that follows is of the first encoder.",),
      tables=(
        Table(
          header=("encoder", "D", "rows", "embeddings (MB)",
                  "embed an image (ms)", "queries of a call",
                  "exact answer (ms)"),
          rows=tuple(
            (name, f"{one.dim:,}", f"{one.num_rows:,}",
             f"{size(one) / 1e6:,.1f}", f"{1e3 * one.embedding_s:.2f}",
             f"{first(one)}",
             f"{1e3 * one.answered['exact'][first(one)].median_s:.2f}")
            for name, one in found.items()
          ),
          name="encoders",
        ),
      ),
    )
  ]  # fmt: skip


def latency(found: Measured) -> list[Section]:
  """Queries by batch size, edits by place, and bytes by kind."""
  edited, room, num_rows = found.edited, found.room, found.num_rows
  told = ""
  if found.scann_recall is not None:
    told = f" ScaNN found {percent(found.scann_recall)} % of the true ones."
  return [
    Section(
      title="Queries",
      finding=_finding(found.answered["exact"], num_rows),
      prose=("From queries on the host to neighbors there." + told,),
      tables=(
        Table(
          header=(
            "search",
            "batch",
            "median (ms)",
            "95 % below (ms)",
            "queries / s",
          ),
          rows=tuple(
            (
              how,
              str(size),
              f"{1e3 * timed.median_s:.2f}",
              f"{1e3 * timed.p95_s:.2f}",
              f"{timed.per_second:,.0f}",
            )
            for how, answered in found.answered.items()
            for size, timed in answered.items()
          ),
          name="queries",
        ),
      ),
    ),
    Section(
      title="Edits",
      prose=(
        "One row at a time: in the memory on the devices, and durably in the"
        " store on disk.",
      ),
      tables=(
        Table(
          header=("where", "edit", "median (ms)", "95 % below (ms)"),
          rows=tuple(
            (
              place,
              edit,
              f"{1e3 * timed.median_s:.2f}",
              f"{1e3 * timed.p95_s:.2f}",
            )
            for place, edits in edited.items()
            for edit, timed in edits.items()
          ),
          name="edits",
        ),
      ),
    ),
    Section(
      title="Storage",
      tables=(
        Table(
          header=("what", "MB", "bytes per row"),
          rows=tuple(
            (name, f"{size / 1e6:,.1f}", f"{size / num_rows:,.0f}")
            for name, size in room.items()
            if size is not None
          ),
          name="storage",
        ),
      ),
    ),
  ]


def values(found: Measured) -> dict[str, Any]:
  """All of it for report.json."""
  plain = lambda groups: {
    name: {key: vars(timed) for key, timed in group.items()}
    for name, group in groups.items()
  }
  return {
    "queries": plain(found.answered),
    "scann_recall": found.scann_recall,
    "edits": plain(found.edited),
    "embedding_s": found.embedding_s,
    "storage_bytes": found.room,
  }


def _finding(answered: Mapping[int, Latency], num_rows: int) -> str:
  """How long the smallest batch takes, and how fast the largest is."""
  first, last = min(answered), max(answered)
  return (
    f"Among {num_rows:,} rows a batch of {first} takes"
    f" {1e3 * answered[first].median_s:.2f} ms, and batches of {last} answer"
    f" {answered[last].per_second:,.0f} queries a second."
  )
