"""Nearest rows of some queries by several encoders, as sections of a page."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from visual_memory.reports import pictures
from visual_memory.reports.page import Figure, Section
from visual_memory.reports.tables import Table, percent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
  """One query: id, class name ("" where unknown), picture, rows by encoder."""

  id: str
  label: str
  picture: UInt8[np.ndarray, "H W 3"]
  found: Mapping[str, pictures.Found]


def choose(
  labels: Int[np.ndarray, "Q"], *, per_class: int, count: int
) -> Int[np.ndarray, "shown"]:
  """Positions of the first queries of each class, class by class.

  At most `count` of them: of classes evenly spread. Without labels, `count`
  queries evenly spread.
  """
  classes = np.unique(labels[labels >= 0])
  if not len(classes):
    return _spread(len(labels), count)
  chosen = classes[_spread(len(classes), count // per_class)]
  return np.concatenate(
    [np.flatnonzero(labels == label)[:per_class] for label in chosen]
  )


def _spread(length: int, count: int) -> Int[np.ndarray, "chosen"]:
  """At least one and at most `count` positions, evenly spread."""
  places = np.linspace(0, length - 1, max(1, min(count, length)))
  return np.unique(np.round(places).astype(np.int64))


def agreement(
  labels: Int[np.ndarray, "Q"], neighbor_labels: Int[np.ndarray, "Q k"]
) -> Float[np.ndarray, "k"] | None:
  """The share of labelled queries whose i-th neighbor has their class."""
  known = labels >= 0
  if not known.any():
    return None
  return (neighbor_labels[known] == labels[known][:, None]).mean(axis=0)


def sections(
  shown: Sequence[Shown],
  agreements: Mapping[str, np.ndarray | None],
  *,
  of_logit: bool = False,
) -> tuple[Section, ...]:
  """Agreement of all queries by rank, then the pictures of some.

  Args:
    shown: the queries and what was found for them.
    agreements: by encoder; None where there are no classes.
    of_logit: whether the maps are of a linear probe's logit.
  """
  known = {name: one for name, one in agreements.items() if one is not None}
  result = []
  if known:
    ranks = range(1, 1 + len(next(iter(known.values()))))
    result.append(
      Section(
        title="The i-th neighbor's class",
        finding="The nearest row has the query's class in "
        + ", ".join(
          f"{percent(one[0])} % ({name})" for name, one in known.items()
        )
        + " of the queries.",
        prose=("Percent of all queries whose i-th neighbor has their class.",),
        tables=(
          Table(
            header=("encoder", *map(str, ranks)),
            rows=tuple(
              (name, *map(percent, one)) for name, one in known.items()
            ),
            name="agreement",
          ),
        ),
      )
    )
  result.append(
    Section(
      title="Queries and their nearest rows",
      prose=(_PROSE.format(_WHAT[of_logit]),),
      figures=tuple(map(_figure, shown)),
    )
  )
  return tuple(result)


_WHAT = {
  False: "the mean similarity with the shown rows comes from",
  True: "the logit that a linear probe gives to its answer comes from",
}

_PROSE = (
  "Some queries and their nearest rows with cosine and, where there are"
  " classes, their class, green where it is the query's. Why: where"
  " {}. Of vision transformers GradCAM"
  " (each picture to its own scale); of a dictionary of patches the exact part"
  " of every place, orange for and blue against; of pixels nothing is shown."
)


def values(
  shown: Sequence[Shown], agreements: Mapping[str, np.ndarray | None]
) -> dict[str, Any]:
  """What report.json says."""
  result = {}
  if all(one is None for one in agreements.values()):
    result["accuracy"] = {}  # Of pictures without classes there is none.
  return result | {
    "agreement": {
      name: None if one is None else [float(value) for value in one]
      for name, one in agreements.items()
    },
    "shown": [one.id for one in shown],
  }


def _figure(one: Shown) -> Figure:
  name = "neighbors_" + "".join(c if c.isalnum() else "_" for c in one.id)
  return Figure.of(
    pictures.neighbor_grid,
    one.picture,
    one.found,
    name=name,
    caption=f"{one.label}: {one.id}" if one.label else one.id,
  )
