"""The attribution explorer: one page on which to ask why, and what if.

  text = render_explorer(
    [QuerySet(name="wrong", near=near, labels=labels, ids=ids, image=image)],
    title="Digits", class_names=names, settings=published_settings(),
    voter="rank", k=10, memory_image=lambda row_id: images[row_id],
  )

Each query is shown with its neighbors, their weights and reliability factors,
and the votes by class. Rows can be removed or relabeled, the voter and k
changed, the memory pruned: the page votes again at once, by the rule of
`visual_memory.vote` (the same ties, float64 sums in the same order), refilling
from the neighbors retrieved beyond k. Weights by exp may differ from ours in
the last bit, as one library's exp does from another's.

The page is self-contained, forbids itself to load anything, and runs no script
but its own. Needs jinja2, which the `plots` extra brings.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from visual_memory.reports import gallery, rendering
from visual_memory.types import Array, Neighbors
from visual_memory.voting import vote_input
from visual_memory.voting.weighting import Setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuerySet:
  """Queries that are listed together.

  Attributes:
    name: such as "wrong", "right" or "label errors".
    near: their neighbors, [Q, k + margin]; what lies beyond k refills.
    labels: true classes, UNLABELED where unknown, [Q].
    ids: [Q].
    image: from a query's position in this set to its uint8 [H, W, 3] or None;
      rows of the memory with a suggestion have their picture already.
    suggested: for rows of the memory that may be mislabeled, the class their
      neighbors vote for, [Q]; see `analysis.label_errors`.
    margin: by how much, [Q].
  """

  name: str
  near: Neighbors
  labels: Int[Array, "Q"]
  ids: np.ndarray
  image: Callable[[int], np.ndarray | None]
  suggested: Int[Array, "Q"] | None = None
  margin: Float[Array, "Q"] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reliability:
  """What pruning knows of every row of the memory; see `analysis.pruning`.

  Attributes:
    row_ids: the memory's ids, [N].
    wrong_counts: how often a row was retrieved for a query of another class,
      in the order of row_ids, [N].
    factors: multiply the row's weight under soft pruning, [N].
    threshold: rows with at least this count are dropped by hard pruning.
  """

  row_ids: np.ndarray
  wrong_counts: Int[Array, "N"]
  factors: Float[Array, "N"]
  threshold: int


def threshold_dropping(wrong_counts: Int[Array, "N"], fraction: float) -> int:
  """The lowest count, from 1, that at most this fraction of rows reaches."""
  counts = np.sort(np.asarray(wrong_counts))[::-1]
  kept = counts[int(fraction * len(counts)) :]
  return int(kept[0]) + 1 if len(kept) else 1


def render_explorer(
  query_sets: Sequence[QuerySet],
  *,
  title: str,
  class_names: Sequence[str],
  settings: Mapping[str, Setting],
  voter: str,
  k: int,
  memory_image: Callable[[str], np.ndarray | None],
  reliability: Reliability | None = None,
) -> str:
  """The page as text.

  Args:
    query_sets: what can be asked about; a few dozen queries make a page of a
      few MB.
    title: one line.
    class_names: the memory's classes.
    settings: the voters to choose from, with their hyper-parameters.
    voter: the one to start with, a key of settings.
    k: the number of voting neighbors to start with.
    memory_image: from a row's id to its uint8 [H, W, 3] or None.
    reliability: for pruning; without it the page does not offer any.

  Raises:
    ValueError: no queries, an unknown voter, k beyond what was retrieved, a
      label without a class, or similarities that are not finite.
    ImportError: jinja2 is absent; names the extra.
  """
  retrieved = [found.near.k for found in query_sets if len(found.near)]
  if not retrieved:
    raise ValueError("There is no query to explore.")
  if voter not in settings:
    raise ValueError(f"Voter {voter!r} is none of {', '.join(settings)}.")
  vote_input.ks((k,), min(retrieved))
  table = _Table(memory_image, reliability)
  queries = [
    query
    for found in query_sets
    for query in _queries(found, table, len(class_names))
  ]
  content = {
    "classes": list(class_names),
    "voters": {name: dict(value.hyper) for name, value in settings.items()},
    "rows": table.rows,
    "pictures": [uri for uri, _ in table.pictures],
    "tiny": [int(tiny) for _, tiny in table.pictures],
    "queries": queries,
  }
  return rendering.render_page(
    "explorer",
    content,
    title=title,
    voters=list(settings),
    start_voter=voter,
    k=k,
    max_k=min(retrieved),
    max_retrieved=max(retrieved),
    num_queries=len(queries),
    sets=[(found.name, len(found.near)) for found in query_sets],
    has_factors=reliability is not None,
    threshold=reliability.threshold if reliability else None,
  )


class _Table:
  """The rows that any query found, each with its picture once."""

  def __init__(self, memory_image, reliability):
    self.rows = []
    self.pictures = []
    self._places = {}
    self._memory_image = memory_image
    self._reliability = reliability
    row_ids = () if reliability is None else reliability.row_ids
    self._row_of = {row_id: row for row, row_id in enumerate(row_ids)}

  def picture(self, image) -> int:
    """The place of a new picture; -1 for None."""
    if image is None:
      return -1
    self.pictures.append(gallery.data_uri(image))
    return len(self.pictures) - 1

  def row(self, row_id, label) -> int:
    """The place of a row of the memory, added when first seen."""
    if row_id not in self._places:
      wrong = factor = None
      if self._reliability is not None:
        row = self._row_of[row_id]
        wrong = int(self._reliability.wrong_counts[row])
        factor = float(self._reliability.factors[row])
      image = self.picture(self._memory_image(row_id))
      self._places[row_id] = len(self.rows)
      self.rows.append([row_id, int(label), image, wrong, factor])
    return self._places[row_id]


def _queries(found: QuerySet, table: _Table, num_classes: int):
  """The queries of a set, as the page reads them."""
  near = found.near
  labels = vote_input.labels(near.labels, num_classes)
  similarities = vote_input.finite(near.similarities, "similarities")
  for i in range(len(near)):
    rows = [
      table.row(str(row_id), label)
      for row_id, label in zip(near.ids[i], labels[i], strict=True)
    ]
    query = {
      "id": str(found.ids[i]),
      "set": found.name,
      "label": int(found.labels[i]),
      "rows": rows,
      "similarities": [_shortest(value) for value in similarities[i]],
    }
    if found.suggested is not None:
      query |= _suspect(found, i, table)
    query["picture"] = (
      table.rows[query["row"]][2]
      if "row" in query
      else table.picture(found.image(i))
    )
    yield query


def _suspect(found: QuerySet, i: int, table: _Table) -> dict[str, Any]:
  """What the page says of a row that may be mislabeled."""
  return {
    "row": table.row(str(found.ids[i]), found.labels[i]),
    "suggested": int(found.suggested[i]),
    "margin": float(found.margin[i]),
  }


def _shortest(similarity: np.floating) -> float:
  """The number with the fewest digits that rounds to this float32."""
  return float(str(np.float32(similarity)))
