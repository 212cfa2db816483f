"""New classes join a memory: what they cost the old ones, and how well they do.

  rows = joined(memory.class_names, old.labels, new)    # refuses known classes
  memory = memory.add(rows)
  known = scored(search(old_queries...), old_labels, ...)       # as before?

The label spaces are kept apart: a class is the same only if its name is, and
new rows of a class that the memory already has are refused, since accuracy
before and after would no longer be about the same question.

Reference: Geirhos et al., ICML 2025, section 3.3 and table 1 (NINCO's 64
classes join ImageNet's 1,000). The published code joins the labels by number,
so that NINCO's class j becomes ImageNet's class j; `merged_as_published` does
the same.

Classes may also arrive in steps:

  of_class = steps_of_classes(labels, num_classes=100, num_steps=10, seed=0)
  course = Course(name="memory", seconds=(...), right=(...), steps=steps)
  course.accuracy                 # [T, T]: row t, after step t; column s, of
  course.forgetting, course.on_arrival        # the classes that came at step s

The measures are those of Chaudhry et al., "Riemannian walk for incremental
learning", ECCV 2018: forgetting is how far the classes of a step have fallen
from their best, intransigence how far a learner is, for what is new, behind one
that learns from all rows so far. What has not come yet cannot be named by any
learner here: there is no accuracy before arrival.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from visual_memory.analysis.choosing import (
  Choice,
  Scored,
  best_on_held_out,
  difference,
  score,
)
from visual_memory.analysis.intervals import Difference
from visual_memory.data.selection import id_hash
from visual_memory.types import UNLABELED, EmbeddedSet
from visual_memory.voting.queries import HeldOutQueries
from visual_memory.voting.weighting import Setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
  """One group of queries asked of one memory.

  Attributes:
    memory: what it held, such as "known + new".
    queries: which group, such as "new".
    chosen: every voter at the k that tuning rows chose.
    as_published: every voter's best k on these very queries, and accuracy.
    nearest: accuracy of the nearest row's class.
  """

  memory: str
  queries: str
  chosen: Mapping[str, Scored]
  as_published: Mapping[str, tuple[int, float]]
  nearest: float


def joined(
  class_names: Sequence[str],
  labels: Int[np.ndarray, "N"],
  added: EmbeddedSet,
  *,
  ids: np.ndarray,
  merged_as_published: bool = False,
) -> EmbeddedSet:
  """New rows, ready for `VisualMemory.add`.

  Args:
    class_names: the memory's.
    labels: of the memory's rows: classes without rows are not known ones.
    added: the new rows.
    ids: of the memory's rows.
    merged_as_published: give the new rows the memory's classes of the same
      number, whatever their names.

  Raises:
    ValueError: a class or an id that both have; names it.
  """
  shared = sorted(set(ids) & set(added.ids))
  if shared:
    raise ValueError(
      f"{len(shared)} new rows are in the memory already, for example"
      f" {shared[0]!r}."
    )
  if merged_as_published:
    if added.labels.max(initial=-1) >= len(class_names):
      raise ValueError(
        f"Label {added.labels.max()} cannot be merged by number into"
        f" {len(class_names)} classes."
      )
    return dataclasses.replace(added, class_names=tuple(class_names))
  known = {class_names[label] for label in np.unique(labels) if label >= 0}
  new = {added.class_names[label] for label in np.unique(added.labels)
         if label >= 0}  # fmt: skip
  if known & new:
    raise ValueError(
      f"{len(known & new)} of the new classes are known to the memory, for"
      f" example {min(known & new)!r}: leave them out, or rename them if they"
      " only share the name."
    )
  return added


def scored(
  held_out: HeldOutQueries,
  *,
  memory: str,
  queries: str,
  choices: Mapping[str, Choice],
  published: Mapping[str, Setting],
  ks: Sequence[int],
  num_classes: int,
  seed: int,
) -> Scores:
  """One group of queries by every voter, honestly and as published.

  Args:
    held_out: the queries with their neighbors in that memory.
    memory: its name.
    queries: the group's name.
    choices: by voter, chosen on tuning rows before anything was added.
    published: the published settings, by voter.
    ks: from which "as published" takes the best.
    num_classes: of old and new classes together.
    seed: of the intervals.
  """
  nearest = best_on_held_out(
    held_out,
    settings={"nearest": next(iter(published.values()))},
    ks=(1,),
    num_classes=num_classes,
  )
  return Scores(
    memory=memory,
    queries=queries,
    chosen={
      name: score(held_out, choice, num_classes=num_classes, seed=seed)
      for name, choice in choices.items()
    },
    as_published=best_on_held_out(
      held_out, settings=published, ks=ks, num_classes=num_classes
    ),
    nearest=nearest["nearest"][1],
  )


def changes(
  before: Scores, after: Scores, *, seed: int
) -> dict[str, Difference]:
  """What an edit did to the same queries, by voter: after less before."""
  return {
    voter: difference(after.chosen[voter], scored, seed=seed)
    for voter, scored in before.chosen.items()
  }


def steps_of_classes(
  labels: Int[np.ndarray, "N"], *, num_classes: int, num_steps: int, seed: int
) -> Int[np.ndarray, "C"]:
  """The step at which each class arrives, from 0; -1 for one without rows.

  Args:
    labels: of all rows that will come.
    num_classes: C.
    num_steps: T; classes are spread over them as evenly as can be.
    seed: of their order.

  Raises:
    ValueError: fewer than two steps, or more steps than classes with rows.
  """
  present = np.unique(labels[labels != UNLABELED])
  if not 2 <= num_steps <= len(present):
    raise ValueError(
      f"{len(present)} classes with rows cannot arrive in {num_steps} steps:"
      " there must be two steps or more, and a class for each."
    )
  drawn = id_hash([str(label) for label in present], salt=f"arrival/{seed}")
  found = np.full(num_classes, -1)
  for step, part in enumerate(
    np.array_split(present[np.argsort(drawn)], num_steps)
  ):
    found[part] = step
  return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Course:
  """How one learner came through all steps.

  Attributes:
    name: of the learner.
    steps: the step at which the class of each query arrived, [Q].
    right: after each step, which queries were answered rightly; False for
      those of classes to come, [T, Q].
    seconds: what each step took to learn, [T].
  """

  name: str
  steps: Int[np.ndarray, "Q"]
  right: Bool[np.ndarray, "T Q"]
  seconds: tuple[float, ...]

  @property
  def accuracy(self) -> Float[np.ndarray, "T T"]:
    """After step t, of the classes of step s; NaN for s > t."""
    num = len(self.right)
    mean = lambda t, s: self.right[t, self.steps == s].mean()
    return np.array(
      [[mean(t, s) if s <= t else np.nan for s in range(num)]
       for t in range(num)]
    )  # fmt: skip

  @property
  def so_far(self) -> list[float]:
    """After each step, of the queries of all classes so far."""
    return [float(self.right[t, self.steps <= t].mean())
            for t in range(len(self.right))]  # fmt: skip

  @property
  def on_arrival(self) -> float:
    """Of the classes of each step right after it, their mean."""
    return float(np.diag(self.accuracy).mean())

  @property
  def forgetting(self) -> float:
    """How far the classes of all steps but the last fell from their best."""
    accuracy = self.accuracy
    last = len(accuracy) - 1
    return float(
      np.mean([np.nanmax(accuracy[:, s]) - accuracy[last, s]
               for s in range(last)])
    )  # fmt: skip

  def intransigence(self, reference: "Course") -> float:
    """How far behind a reference what is new is, on arrival, after step 0."""
    behind = np.diag(reference.accuracy) - np.diag(self.accuracy)
    return float(behind[1:].mean())


def answered_steps(
  of_class: Int[np.ndarray, "C"], labels: Sequence[int] | np.ndarray
) -> Int[np.ndarray, "Q"]:
  """The step at which the class of each query arrives; -1 if it never does."""
  labels = np.asarray(labels)
  known = (labels >= 0) & (labels < len(of_class))
  return np.where(known, of_class[np.where(known, labels, 0)], -1)
