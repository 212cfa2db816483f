"""The neighbor graph of a memory's rows, on disk, and what it says of them."""

import dataclasses

import numpy as np
from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.reports.page import Section
from visual_memory.reports.tables import Table, percent
from visual_memory.reports.workdir import Workdir
from visual_memory.retrieval import all_pairs, row_blocks
from visual_memory.studies.study import finish_study, open_study
from visual_memory.studies.study_settings import StudySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory and its graph.

  Attributes:
    k: neighbors of each row.
    block_rows: rows of a block.
  """

  k: int
  block_rows: int


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Runs the experiment and writes its report into the workdir."""
  study = open_study(config, workdir, mesh, tune=False)
  rows = workdir.path / "rows"
  if distributed.is_lead():
    row_blocks.write_directory(rows, study.embedded)
  distributed.barrier("rows are written")
  blocks = row_blocks.ArrayBlocks.from_directory(
    rows, block_rows=config.block_rows
  )
  with study.clock("graph"):
    graph = all_pairs.build(
      blocks, workdir.path / "graph", k=config.k, mesh=mesh
    )
  labels = dict(zip(study.embedded.ids, study.embedded.labels, strict=True))
  agreeing, pairs = 0, 0
  for ids, near in graph:
    own = np.array([labels[row_id] for row_id in ids])
    agreeing += int((near.labels == own[:, None]).sum())
    pairs += near.labels.size
  values = {"rows": len(graph), "pairs": pairs, "same_class": agreeing / pairs}
  table = Table(
    header=("rows", "pairs", "of one class"),
    rows=((f"{len(graph):,}", f"{pairs:,}", percent(agreeing / pairs)),),
  )
  section = Section(
    title="All pairs",
    prose=(
      f"The {config.k} nearest other rows of every row lie in graph/, one"
      f" file a block; {percent(agreeing / pairs)} of the pairs are of one"
      " class.",
    ),
    tables=(table,),
  )
  finish_study(workdir, config, study, sections=[section], values=values)
