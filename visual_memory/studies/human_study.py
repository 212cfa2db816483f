"""Trials for people about a study, and what they answered."""

import dataclasses
import pathlib
from typing import Any, Literal

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from visual_memory.analysis.human_study import exact_tests, responses, trials
from visual_memory.reports.page import Section
from visual_memory.reports.sections import attribution as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import cached_search, opening
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import (
  EncoderSettings,
  StudySettings,
  TextSettings,
)
from visual_memory.voting import weighting
from visual_memory.voting.vote import class_scores


@dataclasses.dataclass(frozen=True, kw_only=True)
class HumanSettings:
  """What people see.

  Attributes:
    kind: they predict the model's answer, or prefer one of two labels.
    title: of the pages.
    trials: questions.
    choices: answers to choose among.
    neighbors: shown in condition B.
    participants: different orders.
    within: whether each person sees both conditions.
    distractors: the encoder whose top predictions for an image are the other
      choices; without a name they are drawn from all classes.
    text: that encoder's text tower, whose classifier predicts; without a name
      the vote of the memory does, embedded by that encoder.
    extras: further choices, of preference trials.
    responses: a folder of saved files; empty: none yet.
  """

  kind: Literal["prediction", "preference"]
  title: str
  trials: int
  choices: int
  neighbors: int
  participants: int
  within: bool
  distractors: EncoderSettings
  text: TextSettings
  extras: tuple[str, ...]
  responses: str

  def paths(self) -> list[str]:
    """The folder that has to be there."""
    return [self.responses] if self.responses else []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and what people are asked about it."""

  human: HumanSettings


def design(
  config: Settings,
  study: Study,
  predictions: np.ndarray,
  plausible: np.ndarray | None,
) -> trials.Design:
  """The trials about these predictions of the study's queries, [Q].

  Args:
    config: kind and number of the trials.
    study: whose queries are asked about.
    predictions: what the model answers, [Q].
    plausible: classes in order of plausibility, [Q, m]; see
      `plausible_classes`.
  """
  options = config.human
  queries = (study.queries.ids, study.labels, predictions)
  common = {
    "num_trials": options.trials,
    "num_participants": options.participants,
    "seed": config.seed,
  }
  if options.kind == "preference":
    return trials.preference_trials(*queries, extras=options.extras, **common)
  return trials.prediction_trials(
    *queries, num_classes=study.num_classes, num_choices=options.choices,
    within=options.within, plausible=plausible, **common,
  )  # fmt: skip


def plausible_classes(
  config: Settings, workdir: Workdir, mesh: Mesh, study: Study
) -> Int[np.ndarray, "Q m"] | None:
  """The top predictions for each query of the encoder of the distractors.

  Returns:
    As many classes as there are choices, most plausible first; None if no
    encoder is named.
  """
  options = config.human
  if not options.distractors.name:
    return None
  encoder = opening.load_encoder(options.distractors)
  cache_dir = opening.cache_dir(config, workdir)
  embed = lambda source: opening.embed(
    encoder, source, mesh, cache_dir, config.embed
  )[0]
  queries = embed(study.queries_source)
  row_of = {name: row for row, name in enumerate(queries.ids)}
  queries = queries.take([row_of[name] for name in study.queries.ids])
  classifier = opening.text_classifier(
    options.text, study.class_names, cache_dir,
    weights=options.distractors.weights,
  )  # fmt: skip
  if classifier is not None:
    scores = queries.embeddings @ classifier.T
  else:
    rows = embed(study.rows_source)
    search = cached_search.Search(rows, mesh, cache_dir, config.retrieval)
    near = search(
      queries, max(config.voting.ks),
      leave_one_out=study.queries_source is study.rows_source,
    )  # fmt: skip
    weights = weighting.weights(near.similarities, weighting.setting("softmax"))
    scores = class_scores(
      near.labels, weights, ks=(near.k,), num_classes=study.num_classes
    )[0]
  best = np.argsort(-scores, axis=1, kind="stable")
  return best[:, : options.choices]


def told_by_people(
  options: HumanSettings, design: trials.Design, accuracy: float
) -> tuple[Section, dict[str, Any]]:
  """The section about responses, and their numbers.

  Args:
    options: with the folder of the responses, if there are any.
    design: the trials.
    accuracy: of the model, over all queries.
  """
  if not options.responses:
    ready = f"{len(design.trials)} trials are ready to be handed to people."
    none = "There are none yet."
    return Section(title="Responses", finding=ready, prose=(none,)), {}
  found = responses.read_responses(
    sorted(pathlib.Path(options.responses).iterdir()), design.key()
  )
  counted = {"responses": len(found), "unfinished": found.num_unfinished}
  if options.kind == "preference":
    told = exact_tests.preference(found, accuracy=accuracy)
    section = sections.preferred(told, accuracy=accuracy)
  else:
    told = exact_tests.compare_conditions(found, num_choices=options.choices)
    section = sections.predicted(told, num_responses=len(found))
  return section, counted | {"analysis": exact_tests.as_values(told)}
