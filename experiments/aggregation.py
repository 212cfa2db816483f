"""All voters, all k, all encoders: one retrieval each, honestly chosen."""

from experiments import stages
from experiments.study import finish_study, open_study
from visual_memory.analysis import aggregation
from visual_memory.reports.sections import aggregation as sections


def main(config, workdir, mesh) -> None:
  """Compares the voters on every encoder of the config."""
  main_study, compared, sweeps = None, {}, {}
  for name, encoder in config.encoders.items():
    if not encoder.name:
      continue
    study = open_study(stages.with_encoder(config, encoder), workdir, mesh)
    ks = range(1, study.near.k + 1)
    common = {"num_classes": study.num_classes}
    with study.clock(f"compare {name}"):
      compared[name] = aggregation.compare_voters(
        study.held_out,
        study.tuning,
        settings=stages.voter_settings(config.voting),
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
  finish_study(
    workdir,
    config,
    main_study,
    sections=[
      sections.summary(compared),
      *(sections.comparison(name, found) for name, found in compared.items()),
      *(sections.sensitivity(name, found) for name, found in sweeps.items()),
    ],
    values=values[first] | {"encoders": values},
    tiles={
      f"accuracy: {values[first]['chosen']['voter']} vote, k ="
      f" {values[first]['chosen']['k']}, chosen by"
      f" {values[first]['chosen']['by']}":
        f"{100 * values[first]['chosen']['accuracy']:.1f} %"
    },
  )  # fmt: skip
