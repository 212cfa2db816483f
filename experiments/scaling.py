"""How error falls as the memory grows, and the law that it follows."""

from jax.sharding import Mesh

from visual_memory.reports.sections import encoders_overlaid as overlaid
from visual_memory.reports.sections import robustness
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import growing, opening
from visual_memory.studies.finishing import finish_studies
from visual_memory.studies.growing import Settings
from visual_memory.studies.study import open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Grows each encoder's memory with each seed, and fits laws to the errors.

  The tuning rows are taken out of the memory, so that every size can be tuned
  on the same queries; the full memory comes last, with them.
  """
  if not (config.data and config.data.opened):
    raise ValueError("A memory grows beside its queries: name config.data.")
  studies, points, parts, values = {}, {}, {}, {}
  for name, own in opening.by_encoder(config).items():
    studies[name] = open_study(own, workdir, mesh)
    points[name] = growing.grown(config, mesh, studies[name], log=workdir.log)
    laws, misses = growing.laws_of(points[name])
    parts[name] = robustness.growth(
      points[name], laws, misses, far=config.growth.far
    )
    values[name] = robustness.growth_values(points[name], laws, misses)
  first = next(iter(studies))
  table, same = growing.same_error(points)
  compared = overlaid.sections(
    [
      overlaid.Overlay(
        name=f"growth_{voter}", x_log=True, y_log=True,
        lines={
          name: growing.mean_errors(found[voter])
          for name, found in points.items()
        },
        x_label="rows of the memory", y_label=f"error, {voter} vote (%)",
      )
      for voter in points[first]
    ],
    tables=(table,),
  )  # fmt: skip
  finish_studies(
    workdir, config, studies, compared=compared, sections=[parts[first]],
    values={name: {"growth": value} for name, value in values.items()},
    more={"rows_for_the_same_error": same},
  )  # fmt: skip
