"""What training a linear layer gives, beside the votes of the same rows.

Probes learn from the memory's rows beside the tuning rows, which choose among
them; the test queries are scored once. L-BFGS learns again from all rows once
its strength is chosen.
"""

from jax.sharding import Mesh

from visual_memory.analysis import choosing
from visual_memory.reports.sections import probes as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import linear_probes, opening
from visual_memory.studies.linear_probes import Settings
from visual_memory.studies.study import finish_study, needs_images, open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Trains, chooses, scores, and writes the report."""
  study = open_study(config, workdir, mesh)
  needs_images(study)
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
    found = linear_probes.lbfgs(config, study)
  scored[f"linear probe, L-BFGS (strength = {found.strength:.3g})"] = (
    found.scored
  )
  gain = {
    name: choosing.difference(value, next(iter(scored.values())),
                               seed=config.seed)
    for name, value in scored.items()
  }  # fmt: skip
  finish_study(
    workdir, config, study,
    sections=[
      sections.compared(scored, gain),
      sections.grid(grid.probes, grid.on_tune),
      sections.strengths(found.on_tune, found.fitted),
    ],
    values={
      "scored": {
        name: vars(value.accuracy) for name, value in scored.items()
      },
      "over_the_vote": {
        name: value.values() for name, value in gain.items()
      },
      # Of the grid, as DINOv2's authors quote it.
      "best_probe": grid.scored.accuracy.mean,
      "grid": [
        {**vars(probe), "tune_accuracy": value}
        for probe, value in zip(grid.probes, grid.on_tune, strict=True)
      ],
      "strengths": {f"{c:.4g}": value for c, value in found.on_tune.items()},
      "lbfgs": {
        "steps": found.fitted.steps, "gradient": found.fitted.gradient
      },
    },
  )  # fmt: skip
