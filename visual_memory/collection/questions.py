"""What people ask about a memory itself, answered by its rows alone.

  accuracy(store)     how good is it? each row asked of the others
  ridges(store)       and how good if rows are compared whitened?
  suspects(store)     which labels look wrong?
  outliers(store)     which images are like none of the others?
  duplicates(store)   which images are there more than once, or nearly so?
  similar(asker, ...) which images are like this one?

All answers are plain values, as JSON has them. Who has the rows on the devices
already gives them as `memory`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from visual_memory.analysis import label_errors
from visual_memory.collection import pruning_factors
from visual_memory.collection.answering import Asker
from visual_memory.collection.defaults import NEAR, VOTER, K
from visual_memory.collection.identity import Known
from visual_memory.collection.provenance import origins_of
from visual_memory.collection.sureness import leave_one_out, spread
from visual_memory.data.image_source import ImageSource
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.store import loading
from visual_memory.store.store import Store
from visual_memory.types import UNLABELED
from visual_memory.voting import metrics, vote, weighting
from visual_memory.voting.weighting import Setting

RIDGES = (None, 0.25, 1.0, 4.0)
"""What is tried; the best is seldom sharper."""
_NEIGHBORS = 20
_MOST_CONFUSIONS = 10


def accuracy(
  store: Store,
  *,
  k: int = K,
  voter: str | Setting = VOTER,
  memory: VisualMemory | None = None,
  most_rows: int | None = None,
) -> dict[str, Any]:
  """How many rows get their own class from all the others.

  Rows that pruning discounts count for less, as they do in answers.

  Args:
    store: the memory.
    k: how many neighbors vote.
    voter: as `weighting.named` reads it, or a setting.
    memory: the store's rows on the devices, where they are there already.
    most_rows: ask so many at the most, evenly spread; by default all.

  Returns:
    rows (asked), held (with a class, in the memory), right, accuracy (a
    fraction), classes (for each: rows, right, accuracy; worst first),
    confusions (from, to, count; most frequent first).

  Raises:
    ValueError: fewer than two rows, or none with a class.
  """
  memory = store.load() if memory is None else memory
  setting = weighting.named(voter) if isinstance(voter, str) else voter
  rows = memory.embedded()
  labelled = rows.take(rows.labels != UNLABELED)
  if not len(labelled):
    raise ValueError("No image of the memory has a class: nothing is right.")
  asked = spread(labelled, most_rows or len(labelled))
  near = leave_one_out(asked, memory, k=k)
  count = rows.num_classes
  factors = pruning_factors.factors(store)
  predictions = vote.predict(
    near, [setting], ks=(near.k,), num_classes=count,
    factors=None if factors is None else factors[near.indices],
  )[0, 0]  # fmt: skip
  right, of = metrics.count_per_class(
    predictions, asked.labels, num_classes=count
  )
  matrix = metrics.confusion_matrix(
    predictions, asked.labels, num_classes=count
  )
  np.fill_diagonal(matrix, 0)
  order = np.argsort(-matrix, axis=None, kind="stable")[:_MOST_CONFUSIONS]
  names = rows.class_names
  classes = [
    {
      "class": names[c],
      "rows": int(of[c]),
      "right": int(right[c]),
      "accuracy": float(right[c] / of[c]),
    }
    for c in np.flatnonzero(of)
  ]
  return {
    "rows": int(of.sum()),
    "held": len(labelled),
    "right": int(right.sum()),
    "accuracy": float(right.sum() / of.sum()),
    "k": near.k,
    "voter": setting.voter,
    "classes": sorted(classes, key=lambda c: c["accuracy"]),
    "confusions": [
      {"from": names[cell // count], "to": names[cell % count],
       "count": int(matrix.flat[cell])}
      for cell in order.tolist()
      if matrix.flat[cell]
    ],
  }  # fmt: skip


def ridges(
  store: Store,
  *,
  k: int = K,
  voter: str | Setting = VOTER,
  among: Sequence[float | None] = RIDGES,
  most_rows: int | None = None,
) -> list[dict[str, Any]]:
  """How good a memory is with its rows compared whitened: see Store.whiten.

  Args:
    store: the memory; nothing in it is changed.
    k: how many neighbors vote.
    voter: as `weighting.named` reads it, or a setting.
    among: the ridges; None is no whitening.
    most_rows: ask so many at the most; see `accuracy`.

  Returns:
    For each ridge: ridge, rows (asked), right, accuracy, used (whether the
    memory is compared so now). A difference of a few rows is chance.

  Raises:
    ValueError: as `accuracy`.
  """
  memory, now = store.load(), loading.ridge_of(store.contents)
  found = []
  for ridge in among:
    ask = memory.whitened(ridge)
    of = accuracy(store, k=k, voter=voter, memory=ask, most_rows=most_rows)
    kept = {name: of[name] for name in ("rows", "right", "accuracy")}
    found.append({"ridge": ridge, **kept, "used": ridge == now})
  return found


def suspects(
  store: Store,
  *,
  k: int = K,
  voter: str = VOTER,
  limit: int | None = None,
  memory: VisualMemory | None = None,
) -> list[dict[str, Any]]:
  """Rows whose neighbors vote for another class, most suspicious first.

  Returns:
    For each: id, class, suggested (class), margin (in (0, 1]: the share of the
    suggested class less that of the row's own).
  """
  memory = store.load() if memory is None else memory
  rows = memory.embedded()
  near, setting = leave_one_out(rows, memory, k=k), weighting.named(voter)
  found = label_errors.rank_label_errors(
    near,
    rows.labels,
    voter=setting.voter,
    k=near.k,
    num_classes=rows.num_classes,
    **setting.hyper,
  )
  names = [*rows.class_names, None]
  count = found.num_suspects if limit is None else min(
    limit, found.num_suspects
  )  # fmt: skip
  return [
    {
      "id": str(rows.ids[row]),
      "class": names[rows.labels[row]],
      "suggested": names[suggested],
      "margin": float(margin),
    }
    for row, suggested, margin in zip(
      found.rows[:count],
      found.suggested[:count],
      found.margin[:count],
      strict=True,
    )
  ]


def outliers(
  store: Store, *, limit: int = 20, memory: VisualMemory | None = None
) -> list[dict[str, Any]]:
  """The rows that are farthest from their nearest neighbor, farthest first.

  Returns:
    For each: id, class, similarity, nearest (the id it is nearest to).
  """
  memory = store.load() if memory is None else memory
  rows = memory.embedded()
  near = leave_one_out(rows, memory, k=1)
  names = [*rows.class_names, None]
  nearest = np.asarray(near.similarities)[:, 0]
  return [
    {
      "id": str(rows.ids[row]),
      "class": names[rows.labels[row]],
      "similarity": float(nearest[row]),
      "nearest": str(near.ids[row, 0]),
    }
    for row in np.argsort(nearest, kind="stable")[:limit].tolist()
  ]


def duplicates(
  store: Store,
  *,
  min_similarity: float = NEAR,
  memory: VisualMemory | None = None,
) -> list[dict[str, Any]]:
  """Images that are there more than once, or nearly so.

  Files of one content are one row, whose record names them all. Rows whose
  embeddings are this similar form groups, through one another.

  Returns:
    For each group, exact ones first and the largest first: exact (whether all
    its members are the same file), members (id, class, and the files), and
    similarity (the least along the links of the group).
  """
  known = Known(store, origins_of(store))
  member = lambda i: {
    "id": i,
    "class": known.classes[i],
    "files": [
      known.origins[number].location(path)
      for number, path in (
        known.pictures[i].places if i in known.pictures else ()
      )
    ],
  }
  copies = [
    {"exact": True, "similarity": 1.0, "members": [member(i)]}
    for i, picture in known.pictures.items()
    if len(picture.places) > 1
  ]
  alike = [
    {"exact": False, "similarity": least, "members": [*map(member, ids)]}
    for ids, least in _groups(store, min_similarity, memory)
  ]
  size = lambda group: -sum(max(1, len(m["files"])) for m in group["members"])
  return sorted(copies, key=size) + sorted(alike, key=size)


def _groups(
  store: Store, min_similarity: float, memory: VisualMemory | None
) -> list[tuple[list[str], float]]:
  """Rows that are similar through one another, and the least similarity."""
  if len(store) < 2:
    return []
  memory = store.load() if memory is None else memory
  memory = memory.whitened(None)  # Alike to the encoder, whatever else is held.
  rows = memory.embedded()
  near = leave_one_out(rows, memory, k=_NEIGHBORS)
  similarities = np.asarray(near.similarities)
  links = similarities >= min_similarity
  one, place = np.nonzero(links)
  other = np.asarray(near.indices)[one, place]
  shape = (len(rows), len(rows))
  graph = sparse.coo_array((np.ones(len(one)), (one, other)), shape)
  _, group_of = csgraph.connected_components(graph, directed=False)
  found = []
  for group in np.unique(group_of[one]).tolist():
    inside = group_of[one] == group
    members = [str(rows.ids[row]) for row in np.flatnonzero(group_of == group)]
    found.append((members, float(similarities[links][inside].min())))
  return found


def similar(
  asker: Asker,
  source: ImageSource | None = None,
  *,
  ids: Sequence[str] = (),
  k: int = K,
) -> list[dict[str, Any]]:
  """The rows nearest to pictures, or to rows themselves.

  Args:
    asker: the memory.
    source: pictures; or
    ids: rows of the memory, each left out of its own neighbors.
    k: how many.

  Returns:
    For each: image (its id), neighbors (id, class, similarity; best first);
    or image and error.
  """
  if source is None:
    rows = asker.store.embedded()
    position = {row_id: n for n, row_id in enumerate(rows.ids.tolist())}
    asked = rows.take([position[row_id] for row_id in ids])
    return _told(asker, list(ids), leave_one_out(asked, asker.memory, k=k))
  found = []
  for names, embeddings, failed in asker.embedded(source):
    if names:
      near = exact.search(embeddings, asker.memory, k=min(k, len(asker.memory)))
      found += _told(asker, names, near)
    found += [{"image": image, "error": why} for image, why in failed]
  return found


def _told(asker: Asker, images: Sequence[str], near) -> list[dict[str, Any]]:
  """The neighbors of each image, as plain values."""
  names = [*asker.memory.class_names, None]
  return [
    {
      "image": image,
      "neighbors": [
        {"id": str(i), "class": names[label], "similarity": float(similarity)}
        for i, label, similarity in zip(
          near.ids[row], near.labels[row], near.similarities[row], strict=True
        )
      ],
    }
    for row, image in enumerate(images)
  ]
