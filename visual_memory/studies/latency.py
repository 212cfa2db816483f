"""What one encoder's memory takes: seconds of queries and edits, and bytes."""

import dataclasses
import importlib.util
import shutil

from jax.sharding import Mesh

from visual_memory.reports.sections.latency import Measured
from visual_memory.reports.workdir import Workdir
from visual_memory.retrieval import exact
from visual_memory.retrieval.scann import ScannIndex
from visual_memory.store.store import Store
from visual_memory.studies import cached_search, costs
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import StudySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
  """What is timed.

  Attributes:
    batches: (queries of a call, calls).
    edits: of each kind.
    images: embedded at once, to time the encoder.
  """

  batches: tuple[tuple[int, int], ...]
  edits: int
  images: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and what is timed."""

  timing: Timing


def measured(
  config: Settings, workdir: Workdir, mesh: Mesh, study: Study
) -> Measured:
  """All of it; ScaNN's queries too, where it is installed."""
  memory = cached_search.exact_memory(study.embedded, mesh, config.retrieval)
  k, asked = study.near.k, study.queries.embeddings
  ask = {"exact": lambda some: exact.search(some, memory, k=k)}
  recall = None
  if importlib.util.find_spec("scann"):
    with study.clock("build ScaNN"):
      index = ScannIndex.build(memory, k=k)
    ask["ScaNN"] = lambda some: index.search_unaudited(some, k)
    recall = index.search(asked[:256], k=k, num_audited=256).recall
  with study.clock("queries"):
    answered = {
      how: costs.answered(call, asked, config.timing.batches)
      for how, call in ask.items()
    }
  path = workdir.path / "store"
  shutil.rmtree(path, ignore_errors=True)
  with study.clock("store"):
    store = Store.create(path, study.embedded)
  with study.clock("edits"):
    edited = {
      place: costs.edited(where, study.embedded, config.timing.edits)
      for place, where in (("memory", costs.Held(memory)), ("store", store))
    }
  with study.clock("embed some"):
    embedding_s = costs.embedding_s(
      study, mesh, count=config.timing.images, seed=config.seed
    )
  room = {
    "images as they came": costs.size_of(config.memory.options.get("path")),
    "embeddings, float32": study.embedded.embeddings.nbytes,
    "the store (with ids, labels, checksums)": costs.size_of(path),
  }
  shutil.rmtree(path)
  return Measured(
    num_rows=len(study.embedded),
    dim=study.embedded.embeddings.shape[1],
    answered=answered,
    scann_recall=recall,
    edited=edited,
    embedding_s=embedding_s,
    room=room,
  )
