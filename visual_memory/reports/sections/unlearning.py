"""What removals took, cost and left behind."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from visual_memory.analysis.choosing import Choice
from visual_memory.analysis.unlearning import Forgetting, Utility
from visual_memory.reports import tables
from visual_memory.reports.page import Section
from visual_memory.reports.tables import Table
from visual_memory.store.verification import Verification


@dataclasses.dataclass(frozen=True, kw_only=True)
class Removal:
  """One removal.

  Attributes:
    name: what was removed.
    rows_after: rows that are left.
    memory_s: seconds until the rows were gone from the devices.
    store_s: until they were gone from the store, durably, with a receipt.
    rebuild_s: to put the rows that are left into a new memory.
    forgetting: what is left of them.
    utility: what it did to the answers.
    receipt: the store's receipt.
  """

  name: str
  rows_after: int
  memory_s: float
  store_s: float
  rebuild_s: float
  forgetting: Forgetting
  utility: Utility
  receipt: Mapping[str, Any]


def removals(
  found: Sequence[Removal], choice: Choice, checked: Verification
) -> Section:
  """All removals, in order."""
  return Section(
    title="Time, utility, forgetting",
    finding=_finding(found),
    prose=(
      f"Each removal follows the one before. Accuracy is of the {choice.name}"
      f" vote at k = {choice.k}, chosen on tuning rows before the first"
      " removal. Forgetting is complete when the ids, labels and similarities"
      f" of all {choice.k} neighbors of every test query equal, bit for bit,"
      " those of a memory that never held the rows.",
      f"Afterwards the store was verified: {checked.num_rows:,} rows match"
      f" their checksums, {checked.num_empty:,} empty slots hold nothing, and"
      f" {checked.num_receipts} receipts follow from each other.",
    ),
    tables=(
      Table(
        header=(
          "removed", "rows", "a copy without them (ms)", "from the store (ms)",
          "rebuilt instead (ms)",
        ),
        rows=tuple(
          (
            removal.name,
            f"{removal.forgetting.num_removed:,}",
            *(
              f"{1e3 * seconds:.1f}"
              for seconds in (
                removal.memory_s, removal.store_s, removal.rebuild_s,
              )
            ),
          )
          for removal in found
        ),
        caption="Time: a copy of the memory on the devices (editing in place"
        " costs the rows alone), the durable removal, and building anew.",
        name="time",
      ),
      Table(
        header=(
          "removed", "others before (%)", "others after (%)",
          "their answers changed", "forgotten class before (%)", "after (%)",
        ),
        rows=tuple(_utility_row(removal) for removal in found),
        caption="Utility: accuracy on test queries of classes that keep rows,"
        " and of those that do not.",
        name="utility",
      ),
      Table(
        header=(
          "removed", "places among neighbors before", "after",
          "identical to never held", "complete",
        ),
        rows=tuple(
          (
            removal.name,
            f"{removal.forgetting.num_retrieved_before:,}",
            f"{removal.forgetting.num_retrieved_after:,}",
            "yes" if removal.forgetting.identical else "no",
            "yes" if removal.forgetting.complete else "no",
          )
          for removal in found
        ),
        caption="Forgetting.",
        name="forgetting",
      ),
      *(
        Table(
          header=("receipt", removal.name),
          rows=tuple(
            (key.replace("_", " "), _short(value))
            for key, value in removal.receipt.items()
            if value
          ),
          text=True,
        )
        for removal in found[:1]
      ),
    ),
  )  # fmt: skip


def values(removal: Removal) -> dict[str, Any]:
  """A removal for report.json; of the receipt, what identifies it."""
  kept = ("generation", "time", "manifest_before", "manifest_after")
  return dataclasses.asdict(removal) | {
    "receipt": {key: removal.receipt[key] for key in kept},
    "complete": removal.forgetting.complete,
  }


def _utility_row(removal):
  """Accuracies in percent; a dash where there is no such class."""
  found = removal.utility
  percent = functools.partial(tables.percent, digits=2)
  return (
    removal.name,
    percent(found.retained_before),
    percent(found.retained_after),
    f"{found.num_changed:,}",
    percent(found.forgotten_before),
    percent(found.forgotten_after),
  )


def _short(value) -> str:
  """A receipt's value that fits into a cell."""
  if isinstance(value, (list, tuple)) and len(value) > 3:
    return f"{len(value)} entries, the first: {value[0]}"
  if isinstance(value, (list, tuple)):
    return "; ".join(map(str, value))
  return str(value)


def _finding(found: Sequence[Removal]) -> str:
  """Whether all is forgotten, and what that cost the others."""
  complete = sum(removal.forgetting.complete for removal in found)
  rows = sum(removal.forgetting.num_removed for removal in found)
  slowest = max(removal.store_s for removal in found)
  return (
    f"{complete} of {len(found)} removals ({rows:,} rows in all) left nothing:"
    " every answer equals, bit for bit, that of a memory which never held the"
    f" rows. The slowest took {slowest:.2g} s to be durable."
  )
