"""Writes the neighbors of queries and rows to files that stand for them."""

import dataclasses
import os
from typing import Literal

from jax.sharding import Mesh

from visual_memory.reports.page import Section
from visual_memory.reports.tables import Table
from visual_memory.reports.workdir import Workdir
from visual_memory.retrieval import neighbor_records, published_files, recording
from visual_memory.studies.study import finish_study, open_study
from visual_memory.studies.study_settings import StudySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and how its neighbors are written.

  Attributes:
    published: whether also as the published JSON.
    precision: of the .npz.
  """

  published: bool
  precision: Literal["exact", "float16"]


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Runs the experiment and writes its report into the workdir."""
  study = open_study(config, workdir, mesh, rows_near=True, tune=False)
  rows = dataclasses.replace(study.embedded, class_names=study.class_names)
  queries = dataclasses.replace(
    study.queries, labels=study.labels, class_names=study.class_names
  )
  sizes = {}
  for name, near, asked in (
    ("queries", study.near, queries),
    ("rows", study.rows_near, rows),
  ):
    records = recording.record(near, asked, rows)
    path = workdir.path / f"{name}.npz"
    with study.clock(f"write {path.name}"):
      neighbor_records.save_records(path, records, precision=config.precision)
    sizes[path.name] = os.path.getsize(path)
    if config.published:
      path = workdir.path / f"{name}.json"
      with study.clock(f"write {path.name}"):
        published_files.write_published(path, records)
      sizes[path.name] = os.path.getsize(path)
  table = Table(
    header=("file", "bytes"),
    rows=tuple((name, f"{size:,}") for name, size in sizes.items()),
  )
  section = Section(
    title="Neighbor files",
    prose=(
      "Every analysis that needs no search runs from these alone:"
      " --config.neighbors.queries=queries.npz"
      " --config.neighbors.rows=rows.npz.",
    ),
    tables=(table,),
  )
  finish_study(
    workdir, config, study, sections=[section], values={"bytes": sizes}
  )
