"""Wrong labels on purpose: how a memory bears corruption.

  noise = symmetric_noise(num_classes)             # or pairwise_, confusion_
  wrong = corruption(labels, ids, noise, seed=0).at(0.4)
  near = relabelled(near, wrong)           # no new retrieval
  curves = noise_curve(held_out, tuning, embedded, tuning_rows, noise=noise,
                       fractions=fractions, seeds=range(3), settings=settings,
                       ks=ks)
  curves["rank"].accuracy               # [seeds, fractions]

Corruption is nested: with the same seed, whatever is wrong at a fraction is
as wrong at every larger one. What becomes of a row depends on its id and the
seed alone. Everything that chooses is corrupted too: the labels of the tuning
rows are those that the memory has. The test labels are true.

Reference: Geirhos et al., ICML 2025, appendix D, which leaves open whether
the random class may be the true one; `keep_possible` says.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, Int32

from visual_memory.analysis import choosing
from visual_memory.checks import as_labels
from visual_memory.data.selection import id_hash
from visual_memory.types import UNLABELED, Array, EmbeddedSet, Ids, Neighbors
from visual_memory.voting import metrics
from visual_memory.voting.queries import HeldOutQueries, TuningQueries
from visual_memory.voting.vote import predict
from visual_memory.voting.weighting import Setting


def symmetric_noise(
  num_classes: int, *, keep_possible: bool
) -> Float[np.ndarray, "C C"]:
  """Every class is mistaken for every other alike.

  Args:
    num_classes: C, at least 2.
    keep_possible: whether the random class may be the true one, in which case
      1 / C of the corrupted labels stay right.
  """
  _check_classes(num_classes)
  if keep_possible:
    return np.full((num_classes, num_classes), 1 / num_classes)
  return (1 - np.eye(num_classes)) / (num_classes - 1)


def pairwise_noise(num_classes: int) -> Float[np.ndarray, "C C"]:
  """Every class is mistaken for the next one, the last for the first."""
  _check_classes(num_classes)
  return np.roll(np.eye(num_classes), 1, axis=1)


def confusion_noise(
  confusion: Int[Array, "C C"],
) -> Float[np.ndarray, "C C"]:
  """Every class is mistaken for those that it is really confused with.

  Args:
    confusion: queries by true (row) and predicted class; the diagonal is
      ignored. A class that is never mistaken is corrupted evenly.
  """
  counts = np.array(confusion, np.float64)
  _check_classes(len(counts))
  np.fill_diagonal(counts, 0)
  nobody = counts.sum(axis=1) == 0
  even = symmetric_noise(len(counts), keep_possible=False)
  counts[nobody] = even[nobody]
  return counts / counts.sum(axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corruption:
  """One seed's corruption, at any fraction; draw one with `corruption`.

  Attributes:
    labels: int32 true labels, [N].
    turns: the fraction from which on each row is corrupted, [N].
    becomes: int32 what it is then, [N].
  """

  labels: Int32[np.ndarray, "N"]
  turns: Float[np.ndarray, "N"]
  becomes: Int32[np.ndarray, "N"]

  def at(self, fraction: float) -> Int32[np.ndarray, "N"]:
    """The labels of which about this fraction, in [0, 1], was drawn anew."""
    if not 0 <= fraction <= 1:
      raise ValueError(f"fraction must lie in [0, 1]; got {fraction}.")
    return np.where(self.turns < fraction, self.becomes, self.labels)


def corruption(
  labels: Int[np.ndarray, "N"],
  ids: Ids,
  noise: Float[np.ndarray, "C C"],
  *,
  seed: int,
) -> Corruption:
  """What a seed makes of labels.

  Args:
    labels: true labels; UNLABELED ones stay.
    ids: the rows' ids.
    noise: row c has the probabilities of what c becomes; rows sum to 1.
    seed: which rows, and what they become.

  Raises:
    ValueError: noise that is no distribution, or labels that are no integers.
  """
  noise = np.asarray(noise, np.float64)
  if (noise < 0).any() or not np.allclose(noise.sum(axis=1), 1):
    raise ValueError("Every row of the noise must be a distribution.")
  labels = as_labels(labels).astype(np.int32)
  drawn = id_hash(ids, salt=f"noise/become/{seed}")
  becomes = np.full(len(labels), UNLABELED, np.int32)
  for label in np.unique(labels[labels != UNLABELED]):
    rows = labels == label
    # The last class that is possible takes what rounding leaves.
    steps = noise[label, : np.flatnonzero(noise[label])[-1]].cumsum()
    becomes[rows] = np.searchsorted(steps, drawn[rows], side="right")
  return Corruption(
    labels=labels,
    turns=id_hash(ids, salt=f"noise/turn/{seed}"),
    becomes=becomes,
  )


def relabelled(near: Neighbors, labels: Int[np.ndarray, "N"]) -> Neighbors:
  """The same neighbors in a memory whose rows have these labels."""
  return dataclasses.replace(near, labels=np.asarray(labels)[near.indices])


def _check_classes(num_classes: int) -> None:
  """Raises ValueError below two classes."""
  if num_classes < 2:
    raise ValueError("Labels can only be wrong if there are two classes.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseCurve:
  """One voter under one kind of noise.

  Attributes:
    fractions: of labels that were drawn anew.
    accuracy: on held-out queries, at the k that the tuning rows choose,
      [seeds, fractions].
    published: the best over k on the held-out queries, likewise.
    ks: the k chosen, likewise.
  """

  fractions: tuple[float, ...]
  accuracy: Float[np.ndarray, "s f"]
  published: Float[np.ndarray, "s f"]
  ks: Int[np.ndarray, "s f"]


def noise_curve(
  held_out: HeldOutQueries,
  tuning: TuningQueries,
  embedded: EmbeddedSet,
  tuning_rows: Int[np.ndarray, "T"],
  *,
  noise: Float[np.ndarray, "C C"],
  fractions: Sequence[float],
  seeds: Sequence[int],
  settings: Mapping[str, Setting],
  ks: Sequence[int],
) -> dict[str, NoiseCurve]:
  """Every voter at every fraction and seed.

  Args:
    held_out: the queries to score, with true labels.
    tuning: the queries that choose; their labels are corrupted too.
    embedded: the memory's rows; their labels are true.
    tuning_rows: positions of the tuning queries among them, [T].
    noise: what a class becomes; see `label_noise`.
    fractions: of labels drawn anew.
    seeds: of the corruption.
    settings: voters by name.
    ks: candidates for k.

  Raises:
    ValueError: neighbors of other rows.
  """
  for queries in (held_out, tuning):
    queries.near.check_rows(embedded.ids)
  num_classes = max(embedded.num_classes, len(noise))
  shape = (len(settings), len(seeds), len(fractions))
  accuracy, published = np.zeros(shape), np.zeros(shape)
  chosen = np.zeros(shape, np.int64)
  total = max(1, int((held_out.labels >= 0).sum()))
  for s, seed in enumerate(seeds):
    drawn = corruption(embedded.labels, embedded.ids, noise, seed=seed)
    for f, fraction in enumerate(fractions):
      labels = drawn.at(fraction)
      columns = _choose(
        tuning, labels, labels[tuning_rows], settings, ks, num_classes
      )
      correct = metrics.count_correct(
        predict(
          relabelled(held_out.near, labels),
          tuple(settings.values()),
          ks=ks,
          num_classes=num_classes,
        ),
        held_out.labels,
      )  # [V, K]
      accuracy[:, s, f] = correct[range(len(settings)), columns] / total
      published[:, s, f] = correct.max(axis=1) / total
      chosen[:, s, f] = np.asarray(ks)[columns]
  return {
    name: NoiseCurve(
      fractions=tuple(map(float, fractions)),
      accuracy=accuracy[i],
      published=published[i],
      ks=chosen[i],
    )
    for i, name in enumerate(settings)
  }


def _choose(tuning, labels, own, settings, ks, num_classes) -> list[int]:
  """The position of each voter's k, by tuning rows as wrong as the rest."""
  tuning = dataclasses.replace(
    tuning,
    near=relabelled(tuning.near, labels),
    labels=own,
  )
  predictions = predict(
    tuning.near, tuple(settings.values()), ks=ks, num_classes=num_classes
  )
  return [
    choosing.best_answer(tuning, answers)[0][0] for answers in predictions
  ]
