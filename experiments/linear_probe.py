"""What training a linear layer gives, beside the votes of the same rows.

Probes learn from the memory's rows beside the tuning rows, which choose among
them; the test queries are scored once. L-BFGS learns again from all rows once
its strength is chosen.
"""

from jax.sharding import Mesh

from visual_memory.analysis import choosing
from visual_memory.reports.sections import encoders_overlaid as overlaid
from visual_memory.reports.sections import probes as sections
from visual_memory.reports.tables import Table, percent
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import linear_probes, opening
from visual_memory.studies.finishing import finish_studies
from visual_memory.studies.linear_probes import Settings
from visual_memory.studies.study import needs_images, open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Trains, chooses and scores for each encoder; writes the report."""
  studies, parts, values, strengths = {}, {}, {}, {}
  for name, own in opening.by_encoder(config).items():
    study = studies[name] = open_study(own, workdir, mesh)
    needs_images(study)
    parts[name], values[name], strengths[name] = _of_one(
      own, workdir, mesh, study
    )
  first = next(iter(studies))
  table = Table(
    header=("encoder", "vote (%)", "SGD (%)", "L-BFGS (%)"),
    rows=tuple(
      (name, *(percent(one["mean"]) for one in found["scored"].values()))
      for name, found in values.items()
    ),
    name="encoders",
  )  # fmt: skip
  overlay = overlaid.Overlay(
    name="strengths", lines=strengths, x_log=True,
    x_label="inverse strength of the penalty", y_label="tuning accuracy (%)",
  )  # fmt: skip
  compared = overlaid.sections(
    [overlay], tables=(table,),
  )  # fmt: skip
  finish_studies(
    workdir, config, studies,
    compared=compared, sections=parts[first], values=values,
  )  # fmt: skip


def _of_one(config, workdir, mesh, study):
  """The sections and values of one encoder, and accuracy by strength."""
  with study.clock("votes"):
    choice = opening.chosen(config, study)
    scored = {
      f"vote ({choice.name}, k = {choice.k})": choosing.score(
        study.held_out, choice, num_classes=study.num_classes, seed=config.seed
      )
    }
  with study.clock("SGD grid"):
    grid = linear_probes.sgd(config, workdir, mesh, study)
  best = grid.probes[grid.best]
  scored[f"linear probe, SGD ({sections.name(best)})"] = grid.scored
  with study.clock("L-BFGS"):
    found = linear_probes.lbfgs(config.probe, study, seed=config.seed)
  scored[f"linear probe, L-BFGS (strength = {found.strength:.3g})"] = (
    found.scored
  )
  gain = {
    name: choosing.difference(value, next(iter(scored.values())),
                               seed=config.seed)
    for name, value in scored.items()
  }  # fmt: skip
  parts = [
    sections.compared(scored, gain),
    sections.grid(grid.probes, grid.on_tune),
    sections.strengths(found.on_tune, found.fitted),
  ]
  values = {
    "scored": {name: vars(value.accuracy) for name, value in scored.items()},
    "over_the_vote": {name: value.values() for name, value in gain.items()},
    # Of the grid, as DINOv2's authors quote it.
    "best_probe": grid.scored.accuracy.mean,
    "grid": [
      {**vars(probe), "tune_accuracy": value}
      for probe, value in zip(grid.probes, grid.on_tune, strict=True)
    ],
    "strengths": {f"{c:.4g}": value for c, value in found.on_tune.items()},
    "lbfgs": {"steps": found.fitted.steps, "gradient": found.fitted.gradient},
  }
  return parts, values, {c: 100 * x for c, x in found.on_tune.items()}
