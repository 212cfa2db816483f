"""Re-ranking from settings: the questions, and who answers them."""

import dataclasses
import itertools
import os
from collections.abc import Mapping
from typing import Any, Literal

from visual_memory.rerank import by_patches, clients
from visual_memory.rerank import rerank as rerank_lib
from visual_memory.rerank.by_model import Limits, RemoteReranker
from visual_memory.rerank.recordings import Recordings
from visual_memory.studies.study_settings import StudySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class RerankSettings(Limits):
  """Which queries are looked at again, and by whom: see configs/rerank.py."""

  by: Literal["local", "gemini", "openai"]
  k: int
  voter: str
  promise: float
  most: int
  most_tuning: int
  offer: Literal["neighbors", "classes"]
  patch: int
  attention: tuple[float, ...]
  share: tuple[float, ...]
  temperature: tuple[float, ...]
  url: str
  model: str
  key_variable: str
  parameters: Mapping[str, Any]
  prompt: str
  repeats: int
  image_side: int
  timeout_s: float
  total_s: float
  recordings: str
  offline: bool

  def unmet(self) -> str:
    """What a server needs beside files; empty if it is there."""
    asked = self.by != "local" and not self.offline and self.key_variable
    if asked and not os.environ.get(self.key_variable):
      return f"there is no key in the variable {self.key_variable}"
    return ""

  def paths(self) -> list[str]:
    """The recordings that have to be there."""
    return [self.recordings] if self.offline and self.recordings else []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and a second look at what it is unsure of."""

  rerank: RerankSettings


def questions(section, study, near, queries, asked, votes, source):
  """Questions about some queries, whose images are read in their turn."""
  row_of = {name: row for row, name in enumerate(study.rows_source.ids)}
  query_of = {name: row for row, name in enumerate(source.ids)}
  every = tuple(range(study.num_classes))
  return rerank_lib.QuestionList(
    near=near,
    asked=asked,
    votes=votes,
    ids=queries.ids,
    k=section.k,
    all_classes=every if section.offer == "classes" else None,
    query_image=lambda query: source[query_of[queries.ids[query]]].image,
    memory_image=lambda name: study.rows_source[row_of[name]].image,
  )


def reranker(section, workdir, study, tune_votes, tune_margin, threshold):
  """Who answers, and what was chosen for them on tuning queries."""
  if section.by != "local":
    return _remote(section, workdir, study), {}
  candidates = [
    by_patches.LocalSettings(attention=a, share=s, temperature=t)
    for a, s, t in itertools.product(
      section.attention, section.share, section.temperature
    )
  ]
  local = by_patches.LocalReranker(
    encoder=study.encoder, num_classes=study.num_classes,
    patch=section.patch, settings=candidates[0],
  )  # fmt: skip
  if not (tune_margin < threshold).any():
    threshold = float("inf")  # No vote is split: tune on the closest ones.
  asked = rerank_lib.split_queries(
    tune_margin, threshold=threshold, most=section.most_tuning
  )
  asked_about = questions(section, study, study.tune_near, study.tune, asked,
                         tune_votes, study.rows_source)  # fmt: skip
  with study.clock("tune"):
    local, accuracy = local.tuned(
      asked_about, study.tune.labels[asked], candidates
    )
  return local, {
    "settings": vars(local.settings),
    "tuning_accuracy": accuracy,
    "tuning_accuracy_of_votes": rerank_lib.mean_right(
      tune_votes[asked], study.tune.labels[asked]
    ),
  }


def _remote(section, workdir, study):
  """A model on a server, or what it was recorded to say."""
  client = None
  if not section.offline:
    client = clients.make_client(
      section.by, url=section.url, model=section.model,
      key_variable=section.key_variable, timeout_s=section.timeout_s,
      total_s=section.total_s, image_side=section.image_side,
    )  # fmt: skip
  return RemoteReranker(
    client=client,
    api=section.by,
    model=section.model,
    template=section.prompt,
    class_names=tuple(study.class_names),
    parameters=dict(section.parameters),
    recordings=Recordings(section.recordings or workdir.path / "recordings"),
    limits=section,
  )
