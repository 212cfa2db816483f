"""What single neighbors and votes are worth: reliability and confidence."""

from jax.sharding import Mesh

from visual_memory.reports.sections import encoders_overlaid as overlaid
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import opening
from visual_memory.studies.finishing import finish_studies
from visual_memory.studies.reliability import Settings, of_one
from visual_memory.studies.study import open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Reliability, hit rate, calibration and abstention, for each encoder."""
  studies, parts, values = {}, {}, {}
  for name, own in opening.by_encoder(config).items():
    studies[name] = open_study(own, workdir, mesh)
    parts[name], values[name] = of_one(config, studies[name], probed=not values)
  first = next(iter(studies))
  lines = lambda key: {
    name: overlaid.by_place(found[key]) for name, found in values.items()
  }
  calibrated = lambda key: {
    name: overlaid.of_bins(found[key]) for name, found in values.items()
  }
  compared = overlaid.sections(
    [
      overlaid.Overlay(
        name="reliability", lines=lines("reliability"), x_log=True,
        x_label="i, the neighbor's rank",
        y_label="accuracy of the i-th neighbor (%)",
      ),
      overlaid.Overlay(
        name="hit_rate", lines=lines("hit_rate"), x_log=True,
        x_label="k, neighbors looked at", y_label="class among them (%)",
      ),
      *(
        overlaid.Overlay(
          name=key, lines=calibrated(key), y_label="accuracy (%)",
          x_label=label,
          caption=f"Bins of at least {overlaid.MIN_QUERIES} queries.",
        )
        for key, label in (
          ("counts_of_neighbors", "neighbors with the plurality class (%)"),
          ("entropy", "1 - entropy / log2(C) (%)"),
        )
      ),
    ],
  )  # fmt: skip
  finish_studies(
    workdir, config, studies,
    compared=compared, sections=parts[first], values=values,
  )  # fmt: skip
