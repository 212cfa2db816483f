"""Learning a species from few examples: every level, exactly, in one pass.

  curve = discovery_curve(queries, labels, rows, row_labels, tree,
                          exemplars=(0, 1, 2, 5, 10, 20, 50))
  curve.accuracy[0, -2]      # the genus of a species that was never seen

Each class in turn is the new one: the memory holds all rows of the other
classes and its first m rows, and its queries take the class of their nearest
row (k = 1). Where that is a row of the new class, all levels are right;
otherwise it is the best row of the other classes, whatever m. So one product
of queries and rows holds every memory's answer at once.

The product is in float32. Wherever two rows that compete are closer than its
rounding, the query is answered again from float64: rows compete by the same
similarity and tie rule as in `search`, and the answers are those of C * M
memories searched one by one.

Reference: Geirhos et al., ICML 2025, section 3.5 and figure 4 (iNaturalist
2021, 50 rows of each of 10,000 species).
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Float, Float64, Int

from visual_memory.data.taxonomy import Taxonomy
from visual_memory.types import Array

_TILE_ELEMENTS = 1 << 24
_ROUNDING = 1e-5
"""More than a float32 dot product of unit rows can be off by."""

_REDONE, _BLOCK = 64, 8192
"""Queries answered again at once, and rows that are compared at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscoveryCurve:
  """How well a class is placed, with m of its rows in the memory.

  Attributes:
    exemplars: the values of m, [M].
    levels: names of the taxonomy's levels, [L].
    accuracy: mean over classes of the fraction of their queries whose node is
      right, [M, L].
    right: of each query, [M, Q, L].
    baseline: accuracy of always answering each level's largest node, [L].
    num_redone: queries that float32 could not tell.
  """

  exemplars: tuple[int, ...]
  levels: tuple[str, ...]
  accuracy: Float64[np.ndarray, "M L"]
  right: Bool[np.ndarray, "M Q L"]
  baseline: Float64[np.ndarray, "L"]
  num_redone: int


def discovery_curve(
  queries: Float[Array, "Q D"],
  labels: Int[Array, "Q"],
  rows: Float[Array, "N D"],
  row_labels: Int[Array, "N"],
  taxonomy: Taxonomy,
  *,
  exemplars: Sequence[int],
) -> DiscoveryCurve:
  """The curve of every level over the number of exemplars.

  Args:
    queries: unit rows, [Q, D].
    labels: their classes, [Q]; classes without queries are no targets.
    rows: the memory, with all rows of every class, [N, D].
    row_labels: their classes, [N].
    taxonomy: of the classes.
    exemplars: values of m: how many rows of the new class, its first ones in
      the memory's order; the largest is at most what each target has.

  Raises:
    ValueError: a label outside the taxonomy, an m that is negative or more
      than a target's rows, or fewer than two classes with rows.
  """
  labels, row_labels = np.asarray(labels), np.asarray(row_labels)
  exemplars = tuple(int(m) for m in exemplars)
  own_rows = _checked(labels, row_labels, taxonomy, exemplars)
  queries = np.asarray(queries, np.float32)
  rows = np.asarray(rows, np.float32)
  other, first_own, unsure = _nearest(
    queries, labels, rows, row_labels, own_rows
  )
  _redo(
    other, first_own, np.flatnonzero(unsure), queries, labels, rows,
    row_labels, own_rows,
  )  # fmt: skip
  truth = taxonomy.ancestors[labels]
  other_right = taxonomy.ancestors[row_labels[other]] == truth  # [Q, L]
  own_wins = first_own[None] < np.asarray(exemplars)[:, None]  # [M, Q]
  right = own_wins[..., None] | other_right[None]
  counts = np.bincount(labels, minlength=taxonomy.num_classes)
  weights = 1 / (counts[labels] * (counts > 0).sum())  # Every class alike.
  return DiscoveryCurve(
    exemplars=exemplars,
    levels=taxonomy.levels,
    accuracy=np.einsum("mql,q->ml", right, weights),
    right=right,
    baseline=np.array(
      [np.bincount(nodes, weights=weights).max() for nodes in truth.T]
    ),
    num_redone=int(unsure.sum()),
  )


def first_per_class(
  labels: Int[Array, "N"], most: int
) -> Bool[np.ndarray, "N"]:
  """Mask of the first rows of each class, at most this many; 0 is all."""
  labels = np.asarray(labels)
  if not most:
    return np.ones(len(labels), bool)
  order = np.argsort(labels, kind="stable")
  start = np.searchsorted(labels[order], labels[order])
  mask = np.empty(len(labels), bool)
  mask[order] = np.arange(len(labels)) - start < most
  return mask


def most_exemplars(labels: Int[Array, "Q"], row_labels: Int[Array, "N"]) -> int:
  """The rows of the poorest class that is asked about; 0 without queries."""
  labels, row_labels = np.asarray(labels), np.asarray(row_labels)
  if not len(labels):
    return 0
  counts = np.bincount(row_labels, minlength=labels.max() + 1)
  return int(counts[labels].min())


def _checked(labels, row_labels, taxonomy, exemplars):
  """The rows of each class in order, padded with -1: int32 [C, most]."""
  for name, values in (("Query", labels), ("Row", row_labels)):
    outside = (values < 0) | (values >= taxonomy.num_classes)
    if outside.any():
      at = int(np.argmax(outside))
      raise ValueError(
        f"{name} {at} has label {values[at]}, but the taxonomy has"
        f" {taxonomy.num_classes} classes."
      )
  if len(np.unique(row_labels)) < 2:
    raise ValueError(
      "The memory needs rows of at least two classes: a new one and another."
    )
  if not exemplars or min(exemplars) < 0:
    raise ValueError(f"exemplars = {exemplars}: name some, none negative.")
  counts = np.bincount(row_labels, minlength=taxonomy.num_classes)
  targets = np.unique(labels)
  poorest = targets[np.argmin(counts[targets])] if len(targets) else 0
  if len(targets) and max(exemplars) > counts[poorest]:
    raise ValueError(
      f"{max(exemplars)} exemplars were asked for, but class {poorest}"
      f" ({'/'.join(taxonomy.nodes[-1][poorest])}) has {counts[poorest]} rows."
    )
  own = np.full((len(counts), max(1, max(exemplars))), -1, np.int32)
  order = np.argsort(row_labels, kind="stable")
  place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
  kept = place < own.shape[1]
  own[row_labels[order[kept]], place[kept]] = order[kept]
  return own


def _nearest(queries, labels, rows, row_labels, own_rows):
  """Each query's best row of other classes and its first better own row.

  Returns:
    other: row, int32 [Q].
    first_own: place among the class's rows of the first one that is nearer
      than it; a number beyond all exemplars if there is none, [Q].
    unsure: where float32 cannot tell, bool [Q].
  """
  tile = max(1, min(1024, _TILE_ELEMENTS // len(rows)))
  on_device, row_labels = jnp.asarray(rows), jnp.asarray(row_labels)
  found = []
  for start in range(0, len(queries), tile):
    some = slice(start, start + tile)
    count = len(labels[some])
    pad = ((0, tile - count), (0, 0))
    result = _nearest_tile(
      np.pad(queries[some], pad),
      np.pad(labels[some].astype(np.int32), pad[0]),
      np.pad(own_rows[labels[some]], pad),
      on_device,
      row_labels,
    )
    found.append([np.asarray(x)[:count] for x in result])
  return [
    np.concatenate(parts) if parts else np.empty(0, int)
    for parts in (zip(*found, strict=True) if found else [(), (), ()])
  ]


@jax.jit
def _nearest_tile(queries, labels, own_rows, rows, row_labels):
  """`_nearest` of one tile."""
  similarities = jnp.matmul(queries, rows.T, precision=lax.Precision.HIGHEST)
  own = jnp.take_along_axis(similarities, jnp.maximum(own_rows, 0), axis=1)
  own = jnp.where(own_rows >= 0, own, -jnp.inf)
  others = jnp.where(
    row_labels[None] == labels[:, None], -jnp.inf, similarities
  )
  best, at = others.max(axis=1), others.argmax(axis=1)
  close = (others > best[:, None] - _ROUNDING).sum(axis=1) > 1
  close |= (jnp.abs(own - best[:, None]) < _ROUNDING).any(axis=1)
  return at.astype(jnp.int32), _first(own > best[:, None]), close


def _first(mask):
  """The first True of each row; a large number where there is none."""
  return jnp.where(mask.any(axis=1), mask.argmax(axis=1), 1 << 30)


def _redo(
  other, first_own, unsure, queries, labels, rows, row_labels, own_rows
):
  """Answers the unsure queries from float64, by (similarity, row)."""
  if not len(unsure):
    return
  for start in range(0, len(unsure), _REDONE):
    some = unsure[start : start + _REDONE]
    similarities = _canonical(queries[some], rows)
    mine = row_labels[None] == labels[some][:, None]
    others = np.where(mine, -np.inf, similarities)
    at = others.argmax(axis=1)
    best = np.take_along_axis(others, at[:, None], axis=1)
    place = own_rows[labels[some]]
    own = np.take_along_axis(similarities, np.maximum(place, 0), axis=1)
    wins = (own > best) | ((own == best) & (place < at[:, None]))
    wins &= place >= 0
    other[some] = at
    first_own[some] = np.where(wins.any(axis=1), wins.argmax(axis=1), 1 << 30)


def _canonical(queries, rows):
  """Dot products in float64, rounded to float32, [Q, N]."""
  queries = queries.astype(np.float64)
  return np.concatenate(
    [
      (queries @ rows[first : first + _BLOCK].astype(np.float64).T).astype(
        np.float32
      )
      for first in range(0, len(rows), _BLOCK)
    ],
    axis=1,
  )
