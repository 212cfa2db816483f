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
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from visual_memory.analysis.choosing import (
  Choice,
  Scored,
  best_on_held_out,
  difference,
  score,
)
from visual_memory.analysis.intervals import Difference
from visual_memory.types import EmbeddedSet
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
