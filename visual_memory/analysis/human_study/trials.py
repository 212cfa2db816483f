"""Trials of a human study: what is shown, in which order, and the key to it.

  design = prediction_trials(
    ids, labels, predictions, num_classes=10, num_trials=40, num_choices=4,
    num_participants=20, within=True, seed=0,
  )
  design.key()                       # plain JSON for the one who analyses

Two studies of Geirhos et al., ICML 2025. In appendix L, people guess what a
model answers to an image, among four classes: in condition A they see the
image alone, in B also its nearest neighbors, without labels. In appendix N
they see images that the model and the data set label differently, and choose
between the two labels.

The true class is a choice where the model is wrong; the others are plausible
ones, in the paper from a CLIP model's top predictions for that image, in random
order (`plausible`; without it they are drawn from all classes). The paper does
not say whether a person sees both conditions: both designs are on offer, and
each person has an order of their own. Everything depends on ids and seed (and
what is plausible) alone: the same images make the same study wherever they
stand in their source.
"""

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from visual_memory.data.selection import id_hash
from visual_memory.types import UNLABELED, Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
  """One question.

  Attributes:
    name: what responses call it; says nothing about its content.
    query: position of the image among the queries.
    query_id: its id.
    choices: classes, in the order in which they are offered.
    answer: the model's prediction, one of the choices.
    label: the true class.
  """

  name: str
  query: int
  query_id: str
  choices: tuple[int, ...]
  answer: int
  label: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Design:
  """A study; make one with `prediction_trials` or `preference_trials`.

  Attributes:
    kind: "prediction" (appendix L) or "preference" (appendix N).
    trials: the questions.
    orders: the trials of each participant, in order, [P, T].
    with_neighbors: which trials (by position in trials) a participant sees
      with neighbors (condition B), [P, T].
    extras: further choices that every trial ends with, such as "neither".
    seed: of choices and orders.
  """

  kind: str
  trials: tuple[Trial, ...]
  orders: Int[np.ndarray, "P T"]
  with_neighbors: Bool[np.ndarray, "P T"]
  extras: tuple[str, ...]
  seed: int

  @property
  def study(self) -> str:
    """A name made of the content: responses to another study are refused."""
    return hashlib.sha256(json.dumps(self._content()).encode()).hexdigest()[:16]

  def key(self) -> dict[str, Any]:
    """What the analysis of responses needs; not for participants."""
    return {"study": self.study, **self._content()}

  def _content(self) -> dict[str, Any]:
    return {
      "kind": self.kind,
      "seed": self.seed,
      "extras": list(self.extras),
      "trials": [
        {
          "name": trial.name,
          "query": trial.query_id,
          "choices": list(trial.choices),
          "answer": trial.answer,
          "label": trial.label,
        }
        for trial in self.trials
      ],
      "conditions": [
        "".join("AB"[int(shown)] for shown in row)
        for row in self.with_neighbors
      ],
    }


def prediction_trials(
  ids: np.ndarray,
  labels: Int[Array, "Q"],
  predictions: Int[Array, "Q"],
  *,
  num_classes: int,
  num_trials: int,
  num_choices: int,
  num_participants: int,
  within: bool,
  seed: int,
  plausible: Int[Array, "Q m"] | None = None,
) -> Design:
  """People guess the model's answer, without (A) and with (B) its neighbors.

  Args:
    ids: of the queries, [Q].
    labels: their true classes; UNLABELED ones are not asked about, [Q].
    predictions: what the model answered, [Q].
    num_classes: C.
    num_trials: how many of the queries to ask about.
    num_choices: classes on offer, from 2 to C.
    num_participants: different orders; participant P + 1 has the first again.
    within: each participant sees half of the trials with neighbors, the next
      one the other half; otherwise every second participant sees all so.
    seed: of trials, choices and orders.
    plausible: distinct classes for each query, the most plausible first: the
      first that are neither answer nor truth are the other choices, so m =
      num_choices are enough. None: any classes.

  Raises:
    ValueError: fewer queries than trials, or a number out of range.
  """
  if plausible is not None and plausible.shape[1] < num_choices:
    raise ValueError(
      f"{plausible.shape[1]} plausible classes for {num_choices} choices: give"
      " as many."
    )
  if not 2 <= num_choices <= num_classes:
    raise ValueError(
      f"{num_choices} choices of {num_classes} classes: take 2 or more, and no"
      " more than there are."
    )
  asked = _choose(ids, labels, predictions, np.ones(len(ids), bool),
                  num_trials, seed)  # fmt: skip
  trials = tuple(
    _trial(
      i, ids, labels, predictions, query, num_choices, seed,
      _others(ids[query], num_classes, seed)
      if plausible is None
      else np.asarray(plausible)[query],
    )
    for i, query in enumerate(asked)
  )  # fmt: skip
  orders = _orders(num_participants, num_trials, seed)
  turn = np.arange(num_participants)[:, None]
  half = np.arange(num_trials)[None] if within else 0
  return Design(
    kind="prediction",
    trials=trials,
    orders=orders,
    with_neighbors=np.broadcast_to(
      (turn + half) % 2 == 1, (num_participants, num_trials)
    ),
    extras=(),
    seed=seed,
  )


def preference_trials(
  ids: np.ndarray,
  labels: Int[Array, "Q"],
  predictions: Int[Array, "Q"],
  *,
  num_trials: int,
  num_participants: int,
  extras: tuple[str, ...],
  seed: int,
) -> Design:
  """People choose between the model's answer and the label where they differ.

  Arguments and errors as for `prediction_trials`; extras are choices beside
  the two, () as published.
  """
  labels, predictions = np.asarray(labels), np.asarray(predictions)
  asked = _choose(ids, labels, predictions, labels != predictions, num_trials,
                  seed)  # fmt: skip
  trials = tuple(
    _trial(i, ids, labels, predictions, query, 2, seed, ())
    for i, query in enumerate(asked)
  )
  return Design(
    kind="preference",
    trials=trials,
    orders=_orders(num_participants, num_trials, seed),
    with_neighbors=np.zeros((num_participants, num_trials), bool),
    extras=tuple(extras),
    seed=seed,
  )


def _choose(ids, labels, predictions, eligible, num_trials, seed):
  """Positions of the queries to ask about: those of the lowest hashes."""
  known = np.asarray(labels) != UNLABELED
  known &= np.asarray(predictions) != UNLABELED
  positions = np.flatnonzero(known & eligible)
  if not 1 <= num_trials <= len(positions):
    raise ValueError(
      f"{num_trials} trials, but there are {len(positions)} queries to ask"
      " about."
    )
  hashes = id_hash(np.asarray(ids)[positions], salt=f"trials/{seed}")
  return positions[np.argsort(hashes, kind="stable")[:num_trials]]


def _others(query_id, num_classes, seed):
  """All classes in a random order."""
  return _shuffled(np.arange(num_classes), f"others/{seed}/{query_id}")


def _trial(place, ids, labels, predictions, query, num_choices, seed, others):
  """One trial: the model's answer and the true class, then the first others."""
  answer, label = int(predictions[query]), int(labels[query])
  wanted = list(dict.fromkeys((answer, label, *map(int, others))))
  choices = np.array(wanted[:num_choices])
  return Trial(
    name=f"t{place + 1:03d}",
    query=int(query),
    query_id=str(ids[query]),
    choices=tuple(_shuffled(choices, f"choices/{seed}/{ids[query]}").tolist()),
    answer=answer,
    label=label,
  )


def _orders(num_participants, num_trials, seed):
  """A permutation of the trials for each participant, [P, T]."""
  if num_participants < 1:
    raise ValueError(f"num_participants = {num_participants}: 1 or more.")
  trials = np.arange(num_trials)
  return np.stack(
    [_shuffled(trials, f"order/{seed}/{p}") for p in range(num_participants)]
  )


def _shuffled(values, salt):
  """The values in an order that depends on them and the salt alone."""
  hashes = id_hash([str(value) for value in values], salt=salt)
  return values[np.argsort(hashes, kind="stable")]
