"""Classes that arrive in steps: what is known after each, and what was lost.

  of_class = steps_of_classes(labels, num_classes=100, num_steps=10, seed=0)
  course = Course(name="memory", seconds=(...), right=(...), steps=steps)
  course.accuracy                 # [T, T]: row t, after step t; column s, of
  course.forgetting, course.on_arrival        # the classes that came at step s

Reference: the measures are those of Chaudhry et al., "Riemannian walk for
incremental learning", ECCV 2018: forgetting is how far the classes of a step
have fallen from their best, intransigence how far a learner is, for what is
new, behind one that learns from all rows so far. What has not come yet cannot
be named by any learner here: there is no accuracy before arrival.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from visual_memory.data.selection import id_hash
from visual_memory.types import UNLABELED


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
