"""A shot test: one set of shots, weights chosen on held-out shots, one test.

  found = shot_test(guesser, shots, asked, text=text, settings=Settings(), ...)
  found.accuracy["all"], found.fixed["all"], found.as_published

Everything that is chosen (beta, tau, the weights of the memories) is chosen on
queries that are not reported. By default these are the shots themselves: half
of each class's remember, the other half ask, then the halves change roles. One
shot of a class cannot be halved: the first candidate and weights of one are
used, as for none. As published, the weights are chosen on the test labels.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32

from visual_memory.dual_memory import dual_memory, fusion
from visual_memory.dual_memory.dual_memory import IDENTITY, Settings, class_rows
from visual_memory.dual_memory.fusion import Alpha, Branches
from visual_memory.dual_memory.guesses import Asked, Guesser
from visual_memory.dual_memory.reading import Projection

PARTS = {
  "base": (),
  "static": ("static",),
  "dynamic": ("dynamic",),
  "all": ("static", "dynamic"),
}
"""What is added to the base, under the name of the sum."""

Fit = Callable[[np.ndarray, np.ndarray], Projection]
"""Trains a projection: from shots [C, S, D] and their positions among the
shots that were drawn, [S]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShotTest:
  """What came out; accuracies are fractions, by the names of PARTS.

  Attributes:
    accuracy: of sums, chosen on held-out queries.
    alone: of each memory by itself ("static", "dynamic"), first candidate.
    fixed: of sums, first candidate and weights of one.
    as_published: of the whole sum, weights chosen on the test labels.
    chosen: for each sum its sharpness, temperature and weights.
    num_tuning: queries that chose; 0 if there were none.
    pseudo_label_accuracy: how often what is written is right.
    used_slots: of the dynamic memory, after the test.
  """

  accuracy: dict[str, float]
  alone: dict[str, float]
  fixed: dict[str, float]
  as_published: float
  chosen: dict[str, dict[str, float]]
  num_tuning: int
  pseudo_label_accuracy: float
  used_slots: int


def shot_test(
  guesser: Guesser,
  shots: Float32[np.ndarray, "C S D"] | None,
  asked: Asked,
  *,
  text: Float32[np.ndarray, "C D"] | None,
  num_classes: int,
  settings: Settings,
  candidates: Sequence[tuple[float, float]],
  held_out: Asked | None,
  fit: Fit | None,
  mesh: Mesh,
) -> ShotTest:
  """The accuracies of one set of shots.

  Args:
    guesser: the base.
    shots: of each class; None for zero-shot.
    asked: the test, in the order of its stream.
    text: rows of the memories; None without text.
    num_classes: C.
    settings: of the memories; sharpness and temperature come from candidates.
    candidates: (sharpness, inverse temperature) to choose from; the first is
      used where nothing can choose.
    held_out: queries to choose by; if there are none, nothing chooses. None for
      halves of the shots.
    fit: trains a projection; None for none.
    mesh: the devices.
  """
  ask = functools.partial(
    _branches, guesser, text=text, num_classes=num_classes, settings=settings,
    mesh=mesh,
  )  # fmt: skip
  every = np.arange(0 if shots is None else shots.shape[1])
  tables, labels = [], []
  for kept, own in _held_out(held_out, shots, every):
    part = None if shots is None else shots[:, kept]
    tables.append(ask(part, own, candidates, _fit(fit, part, kept))[0])
    labels.append(own.labels)
  choice = _choose(tables, labels, candidates)
  wanted = [candidates[0], *(candidate for candidate, _ in choice.values())]
  found, guess, used = ask(shots, asked, wanted, _fit(fit, shots, every))
  accuracy, fixed, chosen = {}, {}, {}
  for part, (candidate, alpha) in choice.items():
    accuracy[part] = _accuracy(found[candidate], part, alpha, asked.labels)
    fixed[part] = _accuracy(
      found[candidates[0]], part, fusion.FIXED, asked.labels
    )
    chosen[part] = {
      "sharpness": candidate[0],
      "inverse_temperature": candidate[1],
      **dataclasses.asdict(
        fusion.present(alpha, _only(found[candidate], part))
      ),
    }
  first = found[candidates[0]]
  alone = {"static": first.static, "dynamic": first.dynamic}
  return ShotTest(
    accuracy=accuracy,
    alone={
      name: fusion.accuracy(scores, asked.labels)
      for name, scores in alone.items()
      if scores is not None
    },
    fixed=fixed,
    as_published=fusion.choose_alpha(first, asked.labels, as_published=True)[1],
    chosen=chosen,
    num_tuning=sum(map(len, labels)),
    pseudo_label_accuracy=float(np.mean(guess.labels == asked.labels)),
    used_slots=used,
  )


def _held_out(held_out, shots, every) -> list[tuple[np.ndarray, Asked]]:
  """Which shots remember, and the queries that choose: none, one or two."""
  if held_out is not None:
    return [(every, held_out)] if len(held_out.labels) else []
  if len(every) < 2:
    return []
  halves = np.array_split(every, 2)
  return [
    (kept, _as_queries(shots[:, held]))
    for kept, held in (halves, reversed(halves))
  ]


def _fit(fit, shots, numbers):
  return IDENTITY if fit is None or shots is None else fit(shots, numbers)


def _as_queries(shots) -> Asked:
  """Shots as queries, class after class taking turns."""
  num_classes, num_shots, dim = shots.shape
  rows = shots.transpose(1, 0, 2).reshape(-1, 1, dim)
  labels = np.tile(np.arange(num_classes, dtype=np.int32), num_shots)
  return Asked(views=rows, labels=labels)


def _branches(
  guesser, shots, asked, candidates, projection,
  *, text, num_classes, settings, mesh,
):  # fmt: skip
  """The branches of each candidate, the guess, and the slots in use."""
  guess = guesser(asked, shots, projection)
  fixed = class_rows(
    text=text, shots=shots, num_classes=num_classes, dim=asked.views.shape[-1]
  )
  read, used = {}, 0
  for sharpness in dict.fromkeys(beta for beta, _ in candidates):
    *read[sharpness], memory = dual_memory.cosines(
      asked.embeddings,
      guess,
      fixed=fixed,
      settings=dataclasses.replace(settings, sharpness=sharpness),
      mesh=mesh,
      projection=projection,
    )
    used = 0 if memory is None else int(memory.book.counts.sum())
  table = {
    (beta, tau): dual_memory.branches(
      guess, *read[beta], inverse_temperature=tau
    )
    for beta, tau in candidates
  }
  return table, guess, used


def _choose(tables, labels, candidates) -> dict[str, tuple[tuple, Alpha]]:
  """For each sum, the candidate and weights of most right held-out answers."""
  if not tables:
    return {part: (candidates[0], fusion.FIXED) for part in PARTS}
  labels = np.concatenate(labels)
  together = {
    candidate: _joined([table[candidate] for table in tables])
    for candidate in candidates
  }
  choice = {}
  for part in PARTS:
    found = {
      candidate: fusion.choose_alpha(_only(branches, part), labels)
      for candidate, branches in together.items()
    }
    best = max(found, key=lambda candidate: found[candidate][1])
    choice[part] = best, found[best][0]
  return choice


def _accuracy(branches, part, alpha, labels) -> float:
  return fusion.accuracy(fusion.fuse(_only(branches, part), alpha), labels)


def _only(branches: Branches, part: str) -> Branches:
  """The base and the memories of this sum."""
  absent = {
    name: None for name in ("static", "dynamic") if name not in PARTS[part]
  }
  return dataclasses.replace(branches, **absent)


def _joined(parts: Sequence[Branches]) -> Branches:
  """Branches of several sets of queries, one after the other."""
  both = {}
  for name in ("base", "static", "dynamic"):
    values = [getattr(part, name) for part in parts]
    both[name] = None if values[0] is None else np.concatenate(values)
  return Branches(**both)
