"""Two linear probes of a study: a grid by SGD, and L-BFGS.

Both learn from the memory's rows beside the tuning rows, which choose among
them; the test queries are scored once.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from jax.sharding import Mesh

from visual_memory.analysis import calibration, choosing
from visual_memory.data import selection
from visual_memory.encoders import tokens
from visual_memory.probes import linear_probe, logistic_regression
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import opening
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import StudySettings
from visual_memory.types import UNLABELED


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegressionSettings:
  """The search of L-BFGS; without strengths there is none."""

  strengths: tuple[float, ...]
  refinements: int
  max_steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbesSettings(RegressionSettings):
  """The grid of SGD, and the search of L-BFGS."""

  learning_rates: tuple[float, ...]
  num_steps: int
  batch_size: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and the probes beside it."""

  probe: ProbesSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
  """Probes, their accuracies on the tuning rows, the best, its score."""

  probes: Sequence[linear_probe.Probe]
  on_tune: Sequence[float]
  best: int
  scored: choosing.Scored


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regression:
  """The strength, the accuracies of all, the last fit, and its score."""

  strength: float
  on_tune: Mapping[float, float]
  fitted: logistic_regression.Fitted
  scored: choosing.Scored


def sgd(config: Settings, workdir: Workdir, mesh: Mesh, study: Study) -> Grid:
  """The grid, trained on the rows beside the tuning rows."""
  options, encoder = config.probe, tokens.probe_encoder(study.encoder)
  rows, queries, learning = study.embedded, study.queries, _learning(study)
  if encoder is not study.encoder:
    cache_dir = opening.cache_dir(config, workdir)
    again = lambda source: opening.embed(
      encoder, source, mesh, cache_dir, config.embed
    )[0]
    rows, queries = again(study.rows_source), again(study.queries_source)
  most = int(learning.sum()) // mesh.size * mesh.size
  grid = linear_probe.train_probes(
    rows.embeddings[learning], rows.labels[learning],
    tokens.probe_inputs(encoder),
    learning_rates=options.learning_rates, seed=config.seed,
    num_classes=study.num_classes, num_steps=options.num_steps,
    batch_size=min(options.batch_size, most), mesh=mesh,
  )  # fmt: skip
  is_tune = selection.among(rows.ids, study.tune.ids)
  answers = grid.predict(rows.embeddings[is_tune])
  on_tune = [
    choosing.best_answer(study.tuning, one[None])[1] for one in answers
  ]
  (best,), _ = choosing.best_answer(study.tuning, answers)
  found = choosing.score_answer(
    study.held_out, grid.predict(queries.embeddings)[best], seed=config.seed
  )
  return Grid(probes=grid.probes, on_tune=on_tune, best=best, scored=found)


def can_learn(study: Study) -> bool:
  """Whether there are embeddings, and rows with a class that do not tune."""
  if study.encoder is None or len(study.tune) == len(study.embedded):
    return False
  return bool(_learning(study).any())


def lbfgs(
  options: RegressionSettings, study: Study, *, seed: int
) -> Regression:
  """The best strength, learned again from all rows; seed of the interval."""
  rows = study.embedded
  fit = lambda which, **given: logistic_regression.fit(
    rows.embeddings[which], rows.labels[which], num_classes=study.num_classes,
    max_steps=options.max_steps, **given,
  )  # fmt: skip
  last = None

  def score(strength):
    nonlocal last
    last = fit(_learning(study), strength=strength, start=last)
    answers = last.predict(study.tune.embeddings)
    return choosing.best_answer(study.tuning, answers[None])[1]

  strength, scores = logistic_regression.search_strength(
    score, strengths=options.strengths, refinements=options.refinements
  )
  fitted = fit(rows.labels != UNLABELED, strength=strength)
  answers = fitted.predict(study.queries.embeddings)
  return Regression(
    strength=strength,
    on_tune=scores,
    fitted=fitted,
    scored=choosing.score_answer(study.held_out, answers, seed=seed),
  )


def calibrated(
  fitted: logistic_regression.Fitted, study: Study, *, num_bins: int
) -> calibration.Calibrated:
  """Whether the fit's probabilities of the test queries mean what they say."""
  known = study.labels != UNLABELED
  return calibration.calibrated(
    fitted.probabilities(study.queries.embeddings[known]),
    study.labels[known],
    num_bins=num_bins,
  )


def _learning(study):
  """The rows that probes learn from: labelled, and not tuning rows."""
  return study.learning & (study.embedded.labels != UNLABELED)
