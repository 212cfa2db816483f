"""A memory that grows by rows whose labels it gives itself.

  labels, agreement = pseudo_labels(near, setting, k=10, num_classes=10)
  kept = agreement >= 0.8

Reference: Geirhos et al., ICML 2025, section 3.3, where another model's labels
let a memory grow to billions of rows, and rows whose label has no
correspondence among the classes are dropped.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int32

from visual_memory.analysis import choosing
from visual_memory.data import selection
from visual_memory.studies.shifted_sets import SetSettings
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import StudySettings
from visual_memory.types import UNLABELED, EmbeddedSet, Neighbors
from visual_memory.voting import queries as queries_lib
from visual_memory.voting import weighting
from visual_memory.voting.vote import predict


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnlabeledSettings:
  """The pool of rows whose labels are not looked at.

  Attributes:
    labeled_fraction: of the memory's rows beside the tuning rows, that keep
      their labels; the others are the pool.
    agreements: least shares of a vote that a pseudo-label is kept for.
  """

  labeled_fraction: float
  agreements: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, what of it has labels, and test sets of other pictures."""

  unlabeled: UnlabeledSettings
  sets: Mapping[str, SetSettings]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grown:
  """A memory of labelled rows and those of the pool that were kept.

  Attributes:
    name: what it is made of.
    rows: the memory.
    num_added: of the pool.
    label_accuracy: the fraction of these whose label is the true one; None
      where none was added.
  """

  name: str
  rows: EmbeddedSet
  num_added: int
  label_accuracy: float | None


def split(config: Settings, study: Study) -> tuple[EmbeddedSet, EmbeddedSet]:
  """The labelled rows and the pool, neither of them a tuning row."""
  rows = study.embedded.take(study.learning)
  drawn = selection.id_hash(rows.ids, salt=f"labeled/{config.seed}")
  labeled = drawn < config.unlabeled.labeled_fraction
  if not labeled.any() or labeled.all():
    raise ValueError(
      f"unlabeled.labeled_fraction = {config.unlabeled.labeled_fraction} of"
      f" {len(rows)} rows leaves no labelled rows, or no pool."
    )
  return rows.take(labeled), rows.take(~labeled)


def memories(
  labeled: EmbeddedSet,
  pool: EmbeddedSet,
  near: Neighbors,
  choice: choosing.Choice,
  *,
  agreements: Sequence[float],
  num_classes: int,
) -> list[Grown]:
  """The labelled rows alone, grown at each agreement, and with true labels.

  Args:
    labeled: rows with labels.
    pool: rows whose labels count only for what is told about them.
    near: the pool's neighbors among the labelled rows.
    choice: the voter and k that label the pool.
    agreements: least shares of the vote.
    num_classes: C.
  """
  labels, agreement = pseudo_labels(
    near, choice.setting, k=choice.k, num_classes=num_classes
  )
  known = pool.labels != UNLABELED
  found = [Grown(name="labeled rows alone", rows=labeled, num_added=0,
                 label_accuracy=None)]  # fmt: skip
  for least in agreements:
    kept = (agreement >= least) & (labels != UNLABELED)
    right = (labels == pool.labels)[kept & known]
    added = dataclasses.replace(pool, labels=labels).take(kept)
    found.append(
      Grown(
        name=f"agreement of {least:g} or more",
        rows=_joined(labeled, added),
        num_added=len(added),
        label_accuracy=float(right.mean()) if len(right) else None,
      )
    )
  true = pool.take(known)
  found.append(
    Grown(name="true labels of the pool", rows=_joined(labeled, true),
          num_added=len(true), label_accuracy=1.0)
  )  # fmt: skip
  return found


def scored(
  grown: Grown,
  search: Callable[[EmbeddedSet, EmbeddedSet], Neighbors],
  study: Study,
  config: Settings,
  others: Mapping[str, EmbeddedSet],
) -> tuple[choosing.Choice, dict[str, choosing.Scored]]:
  """What the tuning rows choose in this memory, and how every set comes out.

  Args:
    grown: the memory.
    search: the neighbors in some rows of some queries.
    study: with the tuning rows and the test queries.
    config: the voters and ks.
    others: further queries by name, labelled among the study's classes.
  """
  near = search(grown.rows, study.queries)
  held_out = queries_lib.held_out_queries(near, study.labels, study.queries.ids)
  tuning = queries_lib.tuning_queries(
    search(grown.rows, study.tune), study.tune.labels, study.tune.ids,
    held_out=held_out,
  )  # fmt: skip
  choice = choosing.choose(
    tuning,
    settings=config.voting.settings(),
    ks=[k for k in config.voting.ks if k <= near.k],
    num_classes=study.num_classes,
  )
  of = {"test queries": held_out} | {
    name: queries_lib.held_out_queries(
      search(grown.rows, queries), queries.labels, queries.ids
    )
    for name, queries in others.items()
  }
  return choice, {
    name: choosing.score(
      asked, choice, num_classes=study.num_classes, seed=config.seed
    )
    for name, asked in of.items()
  }


def _joined(first: EmbeddedSet, second: EmbeddedSet) -> EmbeddedSet:
  """The rows of both, in this order."""
  return dataclasses.replace(
    first,
    embeddings=np.concatenate([first.embeddings, second.embeddings]),
    labels=np.concatenate([first.labels, second.labels]),
    ids=np.concatenate([first.ids, second.ids]),
  )


def pseudo_labels(
  near: Neighbors, setting: weighting.Setting, *, k: int, num_classes: int
) -> tuple[Int32[np.ndarray, "P"], Float[np.ndarray, "P"]]:
  """The class that the neighbors vote for, and its share of their weights.

  Args:
    near: of the rows without labels, [P, at least k].
    setting: the voter.
    k: neighbors that vote.
    num_classes: C.

  Returns:
    Classes, and agreements from 0 to 1; where nobody has a say, UNLABELED and
    an agreement of 0.
  """
  labels = predict(near, [setting], ks=(k,), num_classes=num_classes)[0, 0]
  weights = weighting.weights(near.similarities[:, :k], setting)
  agreeing = np.asarray(near.labels)[:, :k] == labels[:, None]
  total = weights.sum(axis=1)
  shares = (weights * agreeing).sum(axis=1) / np.where(total == 0, 1, total)
  return labels, np.where(labels < 0, 0.0, shares)
