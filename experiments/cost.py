"""What a memory costs beside a linear probe: to learn, ask, keep and edit."""

from jax.sharding import Mesh

from visual_memory.reports.sections import cost as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import costs
from visual_memory.studies.costs import Settings
from visual_memory.studies.study import finish_study, needs_images, open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Times the same work of both, and reports it beside the published."""
  study = open_study(config, workdir, mesh, tune=False)
  needs_images(study)
  work = costs.work_of(study)
  with study.clock("embedding"):
    seconds = costs.embedding_s(
      study, mesh, count=config.timing.num_embedded, seed=config.seed
    )
  found = {}
  with study.clock("memory"):
    found["memory"] = costs.memory_cost(config, work, mesh)
  with study.clock("linear probe"):
    found["linear probe"] = costs.probe_cost(config, work)
  given = {"embedding_s": seconds, "changed": study.embedded.class_names[-1]}
  finish_study(
    workdir,
    config,
    study,
    sections=sections.cost(found, num_rows=len(work.known), **given),
    values=sections.values(found, **given),
  )
