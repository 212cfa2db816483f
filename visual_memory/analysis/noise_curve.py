"""Accuracy of every voter as labels go wrong, from one retrieval.

  curves = noise_curve(held_out, tuning, embedded, tuning_rows, noise=noise,
                       fractions=fractions, seeds=range(3), settings=settings,
                       ks=ks)
  curves["rank"].accuracy               # [seeds, fractions]

Everything that chooses is corrupted too: the labels of the tuning rows are
those that the memory has. The test labels are true.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from visual_memory.analysis import choosing
from visual_memory.analysis.label_noise import corruption, relabelled
from visual_memory.types import EmbeddedSet
from visual_memory.voting import metrics
from visual_memory.voting.queries import HeldOutQueries, TuningQueries
from visual_memory.voting.vote import predict
from visual_memory.voting.weighting import Setting


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
