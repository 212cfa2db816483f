"""How fast a memory answers and changes, and how much room it takes."""

import dataclasses
import shutil

from jax.sharding import Mesh

from visual_memory.reports.sections import latency as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.retrieval import exact
from visual_memory.store.store import Store
from visual_memory.studies import cached_search, costs
from visual_memory.studies.study import finish_study, open_study
from visual_memory.studies.study_settings import StudySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
  """(queries of a call, calls) that are timed, and edits."""

  batches: tuple[tuple[int, int], ...]
  edits: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and what is timed."""

  timing: Timing


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Times queries and edits of one memory, and weighs its files."""
  cached_search.require_exact(config.retrieval)
  study = open_study(config, workdir, mesh, tune=False)
  memory = cached_search.exact_memory(study.embedded, mesh, config.retrieval)
  with study.clock("queries"):
    answered = costs.answered(
      lambda asked: exact.search(asked, memory, k=study.near.k),
      study.queries.embeddings,
      config.timing.batches,
    )
  path = workdir.path / "store"
  shutil.rmtree(path, ignore_errors=True)
  with study.clock("store"):
    store = Store.create(path, study.embedded)
  with study.clock("edits"):
    edited = {
      place: costs.edited(where, study.embedded, config.timing.edits)
      for place, where in (("memory", costs.Held(memory)), ("store", store))
    }
  room = {
    "images as they came": costs.size_of(config.memory.options.get("path")),
    "embeddings, float32": study.embedded.embeddings.nbytes,
    "the store (with ids, labels, checksums)": costs.size_of(path),
  }
  shutil.rmtree(path)
  finish_study(
    workdir,
    config,
    study,
    sections=sections.latency(
      answered, edited, room, num_rows=len(study.embedded)
    ),
    values=sections.values(answered, edited, room),
  )
