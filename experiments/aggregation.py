"""All voters, all k, all encoders: one retrieval each, honestly chosen."""

import dataclasses
from collections.abc import Mapping

from jax.sharding import Mesh

from visual_memory.analysis import aggregation
from visual_memory.reports.sections import aggregation as sections
from visual_memory.reports.sections import encoders_overlaid as overlaid
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import opening
from visual_memory.studies.study import finish_study, open_study
from visual_memory.studies.study_settings import (
  StudySettings,
  replaced,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """The encoders, and the hyper-parameters to sweep by voter."""

  sweeps: Mapping[str, tuple[float, ...]]


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Compares the voters on every encoder of the config."""
  main_study, compared, sweeps = None, {}, {}
  for name, encoder in opening.named_encoders(config.encoders).items():
    study = open_study(replaced(config, encoder=encoder), workdir, mesh)
    ks = study.usable(range(1, study.near.k + 1))
    common = {"num_classes": study.num_classes}
    with study.clock(f"compare {name}"):
      compared[name] = aggregation.compare_voters(
        study.held_out,
        study.tuning,
        settings=config.voting.settings(),
        ks=ks,
        seed=config.seed,
        **common,
      )
    with study.clock(f"sweep {name}"):
      sweeps[name] = {
        voter: aggregation.sweep(
          study.held_out,
          study.tuning,
          voter=voter,
          values=values,
          ks=ks,
          **common,
        )
        for voter, values in config.sweeps.items()
      }
    main_study = main_study or study
  values = {
    name: sections.comparison_values(found)
    | {"sweeps": {v: sections.sweep_values(s) for v, s in sweeps[name].items()}}
    for name, found in compared.items()
  }
  first = next(iter(values))
  curves = overlaid.sections(sections.overlays(values), prose=())
  finish_study(
    workdir,
    config,
    main_study,
    sections=[
      sections.summary(compared),
      *curves,
      *(
        part(name, found, folded=len(compared) > 1)
        for part, each in (
          (sections.comparison, compared),
          (sections.sensitivity, sweeps),
        )
        for name, found in each.items()
      ),
    ],
    values=values[first] | {"encoders": values},
    tiles={
      f"accuracy: {values[first]['chosen']['voter']} vote, k ="
      f" {values[first]['chosen']['k']}, chosen by"
      f" {values[first]['chosen']['by']}":
        f"{100 * values[first]['chosen']['accuracy']:.1f} %"
    },
  )  # fmt: skip
