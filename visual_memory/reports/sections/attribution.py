"""Attribution: label-error candidates, residuals, and what people chose."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Int, UInt8

from visual_memory.analysis.composition import Found
from visual_memory.analysis.human_study.exact_tests import (
  Comparison,
  Preference,
  Proportion,
)
from visual_memory.analysis.label_errors import LabelErrors, Planted
from visual_memory.reports import tables
from visual_memory.reports.gallery import GalleryItem, GalleryNeighbor
from visual_memory.reports.page import Section
from visual_memory.reports.tables import Table, percent
from visual_memory.types import Neighbors

_LISTED = 50
_SHOWN = 5


def suspects(
  found: LabelErrors,
  *,
  labels: Int[np.ndarray, "N"],
  ids: np.ndarray,
  class_names: Sequence[str],
  rule: str,
  row_image: Callable[[str], np.ndarray | None] = lambda _: None,
) -> Section:
  """The rows whose label their neighbors vote against.

  Args:
    found: the ranking of all rows.
    labels: of all rows.
    ids: of all rows.
    class_names: of the memory.
    rule: how the neighbors voted, such as "rank vote, k = 10".
    row_image: from a row's id to its picture, or None.
  """
  first = found.rows[:_LISTED]
  name = lambda label: class_names[label] if label >= 0 else "none"
  return Section(
    title="Label errors, perhaps",
    finding=(
      f"{found.num_suspects:,} of {len(found):,} rows lose the vote on their"
      " own label."
    ),
    prose=(
      f"Each row's own neighbors, itself left out, vote on its class ({rule})."
      " The margin is the share of the vote that the best other class has,"
      f" less that of the row's label. {found.num_suspects:,} of {len(found):,}"
      " rows lose this vote; a weak encoder loses many votes that the label"
      " should win, so these are candidates to look at, not errors.",
    ),
    tables=(
      Table(
        header=("row", "label", "neighbors say", "margin"),
        rows=tuple(
          (str(ids[row]), name(labels[row]), name(other), f"{margin:.3f}")
          for row, other, margin in zip(
            found.rows[:_LISTED],
            found.suggested[:_LISTED],
            found.margin[:_LISTED],
            strict=True,
          )
        ),
        caption=f"The first {min(_LISTED, len(found))}.",
        name="label_errors",
        text=True,
        pictures=pictured(row_image, ids[first]),
      ),
    ),
  )


def pictured(
  row_image: Callable[[str], np.ndarray | None], ids: np.ndarray
) -> tuple[np.ndarray | None, ...]:
  """The rows' pictures, for a table; () where there are none."""
  found = tuple(row_image(str(row_id)) for row_id in ids)
  return found if any(one is not None for one in found) else ()


def planted(found: Planted) -> Section:
  """How well labels that were made wrong on purpose are found."""
  chance = percent(found.num_wrong / max(1, found.num_rows))
  return Section(
    title="Planted label errors",
    finding=_planted_finding(found),
    prose=(
      f"{found.num_wrong:,} of {found.num_rows:,} labels were replaced by"
      " another class at random, and the rows ranked again. Looking at rows in"
      f" random order would find {chance} % wrong.",
    ),
    tables=(
      Table(
        header=("first rows looked at", "planted errors among them (%)"),
        rows=tuple(
          (f"{count:,}", percent(value))
          for count, value in found.precision.items()
        ),
        name="planted_errors",
      ),
    ),
  )


def _planted_finding(found) -> str:
  """How good the ranking is where as many rows are looked at as are wrong."""
  if found.num_wrong not in found.precision:
    return ""
  return (
    f"Of {found.num_wrong:,} labels made wrong on purpose,"
    f" {percent(found.precision[found.num_wrong])} % are among the first"
    f" {found.num_wrong:,} rows of the ranking."
  )


def compositions(
  found: Mapping[str, Found], items: tuple[GalleryItem, ...], *, own: bool
) -> Section:
  """What residual queries find in images of two objects.

  Args:
    found: by how they are searched; empty where nobody says what they show.
    items: some of them with what was found.
    own: whether they are one's own pictures rather than pairs of queries.
  """
  what = (
    "They were given beside the memory."
    if own
    else "Two test images of different classes stand side by side in one image."
  )
  return Section(
    title="One's own pictures" if own else "Two objects in one image",
    prose=(
      f"{what} The nearest rows of each are searched, the nearest one is taken"
      " out of the query, and what is left is searched again."
      + " Plain search: the first row among the same number that is of another"
      " class than the nearest." * bool(found),
    ),
    tables=()
    if not found
    else (
      Table(
        header=("", "nearest is one of the two (%)", "both found (%)"),
        rows=tuple(
          (how, percent(value.first), percent(value.both))
          for how, value in found.items()
        ),
        name="own_compositions" if own else "compositions",
      ),
    ),
    finding=_composition_finding(found),
    gallery=items,
    per_row=2,
  )


def _composition_finding(found) -> str:
  """How much the residual adds to plain search."""
  if not found:
    return ""
  best = max(found, key=lambda how: found[how].both)
  return (
    f"Both objects of a pair are found in {percent(found[best].both)} % by"
    f" {best}; the nearest row shows one of them in"
    f" {percent(found[best].first)} %."
  )


def composed(
  near: Neighbors,
  *,
  picture: UInt8[np.ndarray, "S S 3"],
  classes: Int[np.ndarray, "2"],
  what: str,
  name: str,
  class_names: Sequence[str],
  row_image: Callable[[str], np.ndarray | None],
) -> GalleryItem:
  """A composed image and the rows that were found for it.

  Args:
    near: the neighbors of this one query.
    picture: the image.
    classes: the two classes that it shows; UNLABELED where nobody says.
    what: which query it was: the image, or what is left of it.
    name: of the picture; empty where it has none.
    class_names: of the memory.
    row_image: from a row's id to its picture.
  """
  called = lambda label: class_names[label] if label >= 0 else None
  known = bool((np.asarray(classes) >= 0).all())
  both = " + ".join(map(called, classes)) if known else None
  first = near.labels[0, 0]
  return GalleryItem(
    id=f"{name}: {what}" if name else what,
    label=both,
    prediction=called(first) or "nothing",
    right=bool(first in classes) if known else None,
    image=picture,
    votes=(),
    neighbors=tuple(
      GalleryNeighbor(
        id=str(row_id),
        label=called(label),
        similarity=float(similarity),
        weight=None,
        agrees=bool(label in classes) if known else None,
        image=row_image(row_id),
      )
      for row_id, label, similarity in zip(
        near.ids[0, :_SHOWN],
        near.labels[0],
        near.similarities[0],
        strict=False,
      )
    ),
  )


def predicted(found: Comparison, *, num_responses: int) -> Section:
  """Whether people guess the model's answer better with its neighbors."""
  return Section(
    title="Guessing what the model says",
    prose=(
      f"{num_responses:,} responses. With neighbors against without: Fisher's"
      f" exact test, {tables.p_words(found.fisher_p)}; by image,"
      f" {found.more} are guessed better and {found.fewer} worse, exact sign"
      f" test, {tables.p_words(found.paired_p)}.",
    ),
    tables=(
      _proportions(
        {
          "A: the image alone": found.without,
          "B: with neighbors": found.with_neighbors,
        },
        against="p, against chance",
      ),
    ),
  )


def preferred(found: Preference, *, accuracy: float) -> Section:
  """How often people prefer the model's label where it differs."""
  return Section(
    title="Whose label people prefer",
    prose=(
      f"Mean over participants {percent(found.observer_mean)} %, standard"
      f" error {percent(found.observer_error, digits=2)}. Counted as right, the"
      f" preferred ones raise accuracy from {percent(accuracy)} to"
      f" {percent(found.corrected_accuracy)} %.",
    ),
    tables=(
      _proportions(
        {"the model's label": found.chosen}, against="p, against one half"
      ),
    ),
  )


def _proportions(rows: Mapping[str, Proportion], *, against: str) -> Table:
  """Proportions with their exact intervals."""
  return Table(
    header=("", "chosen", "of", "% (95 %)", against),
    rows=tuple(
      (
        name,
        str(value.successes),
        str(value.total),
        tables.interval(value.fraction),
        tables.p_value(value.p_value),
      )
      for name, value in rows.items()
    ),
    name="responses",
  )
