"""How fast and how large a memory is (appendix K)."""

from collections.abc import Mapping
from typing import Any

from visual_memory.analysis.latency import Latency
from visual_memory.reports.page import Section
from visual_memory.reports.tables import Table


def latency(
  answered: Mapping[int, Latency],
  edited: Mapping[str, Mapping[str, Latency]],
  room: Mapping[str, int | None],
  *,
  num_rows: int,
) -> list[Section]:
  """Queries by batch size, edits by place, and bytes by kind."""
  return [
    Section(
      title="Queries",
      finding=_finding(answered, num_rows),
      prose=("Exact search, from queries on the host to neighbors there.",),
      tables=(
        Table(
          header=("batch", "median (ms)", "95 % below (ms)", "queries / s"),
          rows=tuple(
            (
              str(size),
              f"{1e3 * timed.median_s:.2f}",
              f"{1e3 * timed.p95_s:.2f}",
              f"{timed.per_second:,.0f}",
            )
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


def values(answered, edited, room) -> dict[str, Any]:
  """All of it for report.json."""
  return {
    "queries": {size: vars(timed) for size, timed in answered.items()},
    "edits": {
      place: {edit: vars(timed) for edit, timed in edits.items()}
      for place, edits in edited.items()
    },
    "storage_bytes": room,
  }


def _finding(answered: Mapping[int, Latency], num_rows: int) -> str:
  """How long the smallest batch takes, and how fast the largest is."""
  first, last = min(answered), max(answered)
  return (
    f"Among {num_rows:,} rows a batch of {first} takes"
    f" {1e3 * answered[first].median_s:.2f} ms, and batches of {last} answer"
    f" {answered[last].per_second:,.0f} queries a second."
  )
