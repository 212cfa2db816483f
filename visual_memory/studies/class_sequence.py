"""Classes that join a memory, once, or in steps beside two linear heads.

The memory is given the new rows. One head is fitted anew at every step to all
rows so far, which a memory never needs; the other goes on from where it is, on
the new rows alone, which is as cheap as a head can learn. Tuning rows, which
are in no memory and train no head, choose voter, k and the heads' strength,
each time among the classes that have arrived.
"""

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from visual_memory.analysis import choosing, lifelong
from visual_memory.analysis.lifelong import Course
from visual_memory.memory.memory import VisualMemory
from visual_memory.probes import logistic_regression
from visual_memory.reports.workdir import Workdir
from visual_memory.retrieval import exact
from visual_memory.studies import cached_search, opening
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import SourceSettings, StudySettings
from visual_memory.types import UNLABELED, EmbeddedSet
from visual_memory.voting import queries as queries_lib
from visual_memory.voting import vote

MEMORY = "memory"
RETRAINED = "head, retrained"
FINE_TUNED = "head, fine-tuned"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceSettings:
  """How classes arrive, and how the heads learn.

  Attributes:
    steps: at which classes arrive.
    strengths: of the heads' fits; the tuning rows of the first step choose.
    max_steps: of L-BFGS for the retrained head.
    fine_tune_steps: of L-BFGS on the new rows, for the other.
  """

  steps: int
  strengths: tuple[float, ...]
  max_steps: int
  fine_tune_steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, whose classes arrive one after the other."""

  sequence: SequenceSettings


def taught(
  config: Settings, mesh: Mesh, study: Study, *, log: Callable[..., None]
) -> dict[str, Course]:
  """The course of every learner, by its name.

  Args:
    config: the steps.
    mesh: the devices.
    study: whose queries are asked after each step, if their classes are there.
    log: is told the accuracies after each step.
  """
  options, rows = config.sequence, study.embedded
  rows = rows.take(study.learning & (rows.labels != UNLABELED))
  of_class = lifelong.steps_of_classes(
    rows.labels, num_classes=study.num_classes, num_steps=options.steps,
    seed=config.seed,
  )  # fmt: skip
  steps = lifelong.answered_steps(of_class, study.labels)
  tune_steps = lifelong.answered_steps(of_class, study.tune.labels)
  learners = {
    MEMORY: _Memory(config, mesh, study),
    RETRAINED: _Head(options, study, anew=True),
    FINE_TUNED: _Head(options, study, anew=False),
  }
  right = {name: [] for name in learners}
  seconds = {name: [] for name in learners}
  arrival = of_class[rows.labels]
  for step in range(options.steps):
    asked = (steps >= 0) & (steps <= step)
    tuned = (tune_steps >= 0) & (tune_steps <= step)
    for name, learner in learners.items():
      with study.clock(name):
        start = time.perf_counter()
        learner.learn(
          rows.take(arrival <= step), rows.take(arrival == step),
          study.tune.take(tuned),
        )  # fmt: skip
        seconds[name].append(time.perf_counter() - start)
        answers = learner.answer(asked, tuned)
      found = np.zeros(len(steps), bool)
      found[asked] = answers == study.labels[asked]
      right[name].append(found)
    log(step=step, **{name: float(right[name][-1][asked].mean())
                      for name in learners})  # fmt: skip
  known = steps >= 0
  return {
    name: Course(
      name=name, steps=steps[known], right=np.stack(right[name])[:, known],
      seconds=tuple(seconds[name]),
    )
    for name in learners
  }  # fmt: skip


class _Memory:
  """Learns by adding rows."""

  def __init__(self, config: Settings, mesh: Mesh, study: Study):
    self._config, self._mesh, self._study = config, mesh, study
    self._memory: VisualMemory | None = None

  def learn(self, rows, new: EmbeddedSet, tune):
    del rows, tune  # Neither what it has nor tuning rows are learned again.
    if self._memory is None:
      self._memory = cached_search.exact_memory(
        new, self._mesh, self._config.retrieval
      )
    else:
      self._memory = self._memory.add(new)
    jax.block_until_ready(self._memory.rows.labels)

  def answer(self, asked, tuned) -> np.ndarray:
    """By the voter and k that the tuning rows of known classes choose."""
    study, voting = self._study, self._config.voting
    queries, tune = study.queries.take(asked), study.tune.take(tuned)
    k = min(max(voting.ks), len(self._memory))
    search = lambda of: exact.search(of.embeddings, self._memory, k=k)
    held_out = queries_lib.held_out_queries(
      search(queries), study.labels[asked], queries.ids
    )
    common = {"num_classes": study.num_classes}
    choice = choosing.choose(
      queries_lib.tuning_queries(
        search(tune), tune.labels, tune.ids, held_out=held_out
      ),
      settings=voting.settings(),
      ks=[k_ for k_ in voting.ks if k_ <= k] or [k], **common,
    )  # fmt: skip
    return vote.predict(
      held_out.near, [choice.setting], ks=(choice.k,), **common
    )[0, 0]


class _Head:
  """Learns by L-BFGS: anew from all rows, or further from the new ones."""

  def __init__(self, options: SequenceSettings, study: Study, *, anew: bool):
    self._options, self._study, self._anew = options, study, anew
    self._strength, self._fitted = None, None

  def learn(self, rows: EmbeddedSet, new: EmbeddedSet, tune: EmbeddedSet):
    options = self._options
    if self._strength is None:
      self._strength = max(
        options.strengths,
        key=lambda strength: float(
          np.mean(self._fit(rows, strength, options.max_steps)
                  .predict(tune.embeddings) == tune.labels)
        ),
      )  # fmt: skip
    if self._anew or self._fitted is None:
      fitted = self._fit(rows, self._strength, options.max_steps)
    else:
      fitted = self._fit(
        new, self._strength, options.fine_tune_steps, self._fitted
      )
    self._fitted = fitted

  def answer(self, asked, tuned) -> np.ndarray:
    del tuned
    return self._fitted.predict(self._study.queries.embeddings[asked])

  def _fit(self, rows, strength, max_steps, start=None):
    return logistic_regression.fit(
      rows.embeddings, rows.labels, strength=strength, start=start,
      num_classes=self._study.num_classes, max_steps=max_steps,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class LifelongSettings:
  """Whether labels are joined by number, as published (wrongly)."""

  merged_as_published: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class JoiningSettings(StudySettings):
  """A memory, the classes that join it, and queries of theirs."""

  lifelong: LifelongSettings
  added: SourceSettings
  added_data: SourceSettings


def new_rows(
  config: JoiningSettings, workdir: Workdir, mesh: Mesh, study: Study
) -> tuple[EmbeddedSet, EmbeddedSet]:
  """The new rows and their queries: other images, or the rows themselves."""
  cache_dir = opening.cache_dir(config, workdir)
  embed = lambda section: opening.embed(
    study.encoder, opening.open_source(section), mesh, cache_dir, config.embed
  )[0]
  with study.clock("embed new"):
    added = embed(config.added)
    asked = embed(config.added_data) if config.added_data.source else None
  added = lifelong.joined(
    study.embedded.class_names,
    study.embedded.labels,
    added,
    ids=study.embedded.ids,
    merged_as_published=config.lifelong.merged_as_published,
  )
  if asked is None:
    return added, added
  if config.lifelong.merged_as_published:
    raise ValueError(
      "lifelong.merged_as_published goes with queries that are the new rows"
      " themselves: leave added_data empty."
    )
  return added, asked
