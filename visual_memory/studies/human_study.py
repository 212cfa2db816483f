"""Trials for people about a study, and what they answered."""

import dataclasses
import pathlib
from typing import Any, Literal

import numpy as np

from visual_memory.analysis.human_study import exact_tests, responses, trials
from visual_memory.reports.page import Section
from visual_memory.reports.sections import attribution as sections
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import StudySettings


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
  extras: tuple[str, ...]
  responses: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and what people are asked about it."""

  human: HumanSettings


def design(
  config: Settings, study: Study, predictions: np.ndarray
) -> trials.Design:
  """The trials about these predictions of the study's queries, [Q]."""
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
    within=options.within, **common,
  )  # fmt: skip


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
    return Section(title="Responses", prose=("There are none yet.",)), {}
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
