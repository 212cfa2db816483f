"""What a memory costs and what a linear probe costs, as sections of a page."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from visual_memory.analysis.latency import Latency
from visual_memory.reports.page import Section
from visual_memory.reports.tables import Table, percent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
  """What one way to classify the same embeddings costs.

  Attributes:
    learn: seconds from all rows to the first answer that can be asked for.
    ask: of a call, by the number of its queries.
    num_bytes: what has to be kept beside the encoder.
    add_class: seconds to know one class more.
    remove_class: seconds to know one class less.
    accuracy: on the test queries.
    accuracy_without: of the classes that are left.
  """

  learn: Latency
  ask: Mapping[int, Latency]
  num_bytes: int
  add_class: Latency
  remove_class: Latency
  accuracy: float
  accuracy_without: float


def cost(
  found: Mapping[str, Cost], *, embedding_s: float, num_rows: int, changed: str
) -> tuple[Section, ...]:
  """Ours, and the published ones.

  Args:
    found: of each way, by its name.
    embedding_s: seconds to embed an image, which both need.
    num_rows: of the memory.
    changed: the class that is added and removed.
  """
  lines = {f"learn from {num_rows:,} rows": _seconds(found, "learn")}
  for size in next(iter(found.values())).ask:
    what = "a query" if size == 1 else f"{size} queries at once, each"
    lines[what] = {
      name: _time(one.ask[size].median_s / size) for name, one in found.items()
    }
  lines |= {
    f"add the class {changed!r}": _seconds(found, "add_class"),
    "remove it again": _seconds(found, "remove_class"),
    "to be kept": {
      name: f"{one.num_bytes / 2**20:.2f} MiB" for name, one in found.items()
    },
    "accuracy (%)": {
      name: percent(one.accuracy) for name, one in found.items()
    },
    "without that class (%)": {
      name: percent(one.accuracy_without) for name, one in found.items()
    },
  }
  return (
    Section(
      title="A memory and a linear probe of the same embeddings",
      finding=_finding(found, changed),
      prose=(
        f"Embedding an image, which both need, takes {_time(embedding_s)}."
        " Learning: the rows are put where they are searched, or a logistic"
        " regression is fitted to them (L-BFGS, one strength)."
        " A class: rows are added or removed, or all is fitted again."
        " Medians.",
      ),
      tables=(
        Table(
          header=("", *found),
          rows=tuple(
            (what, *values.values()) for what, values in lines.items()
          ),
          name="cost",
        ),
      ),
    ),
    Section(
      title="As published",
      prose=(
        "ImageNet, ViT-S/16, on the authors' GPUs: embedding is all that a"
        " memory needs, while a probe is trained for 100 epochs through the"
        " frozen network.",
      ),
      tables=(
        Table(
          header=("", "memory", "linear probe"),
          rows=(
            ("training, GPU hours", "1.5", "96"),
            ("inference on 50,000 images, seconds", "240", "112"),
            ("storage of 1.28 million rows, GiB", "2", ""),
          ),
          name="published_cost",
        ),
      ),
    ),
  )


def values(
  found: Mapping[str, Cost], *, embedding_s: float, changed: str
) -> dict[str, Any]:
  """Every number, in seconds and bytes, and the ratios of the two ways."""
  memory, probe = found.values()
  return {
    "embedding_s_per_image": embedding_s,
    "changed_class": changed,
    "cost": {name: dataclasses.asdict(one) for name, one in found.items()},
    "probe_over_memory": {
      "learn": probe.learn.median_s / memory.learn.median_s,
      "ask": {
        size: probe.ask[size].median_s / memory.ask[size].median_s
        for size in memory.ask
      },
      "bytes": probe.num_bytes / memory.num_bytes,
      "add_class": probe.add_class.median_s / memory.add_class.median_s,
      "remove_class": (
        probe.remove_class.median_s / memory.remove_class.median_s
      ),
    },
  }


def _finding(found, changed) -> str:
  """What one class more costs either way, and how right both are."""
  told = [
    f"{name} {_time(one.add_class.median_s)} ({percent(one.accuracy)} % right)"
    for name, one in found.items()
  ]
  return f"To learn the class {changed!r} takes " + ", ".join(told) + "."


def _seconds(found: Mapping[str, Cost], field: str) -> dict[str, str]:
  return {
    name: _time(getattr(one, field).median_s) for name, one in found.items()
  }


def _time(seconds: float) -> str:
  """Seconds, milliseconds or microseconds."""
  for unit, factor in (("s", 1), ("ms", 1e3)):
    if seconds * factor >= 1:
      return f"{seconds * factor:.3g} {unit}"
  return f"{seconds * 1e6:.3g} µs"
