"""What training a linear layer gives, beside the votes of the same rows.

Probes learn from the memory's rows beside the tuning rows, which choose among
them; the test queries are scored once. L-BFGS learns again from all rows once
its strength is chosen.
"""

from experiments import needs, stages
from experiments.study import finish_study, open_study
from visual_memory.analysis import choosing
from visual_memory.encoders import probe_tokens
from visual_memory.probes import linear_probe, logistic_regression
from visual_memory.reports.sections import probes as sections
from visual_memory.types import UNLABELED


def main(config, workdir, mesh) -> None:
  """Trains, chooses, scores, and writes the report."""
  study = open_study(config, workdir, mesh)
  needs.images(study)
  tuned = stages.among(study.embedded.ids, study.tune.ids)
  learning = ~tuned & (study.embedded.labels != UNLABELED)
  with study.clock("votes"):
    choice = choosing.choose(
      study.tuning, settings=stages.voter_settings(config.voting),
      ks=tuple(config.voting.ks), num_classes=study.num_classes,
    )  # fmt: skip
    scored = {
      f"vote ({choice.name}, k = {choice.k})": choosing.score(
        study.held_out, choice, num_classes=study.num_classes, seed=config.seed
      )
    }
  with study.clock("SGD grid"):
    grid, on_tune, chosen, found = _sgd(config, workdir, mesh, study, learning)
  scored[f"linear probe, SGD ({sections.name(grid.probes[chosen])})"] = found
  best_probe = found.accuracy.mean
  with study.clock("L-BFGS"):
    strength, strengths, fitted, found = _lbfgs(config, study, learning)
  scored[f"linear probe, L-BFGS (strength = {strength:.3g})"] = found
  gain = {
    name: choosing.difference(value, next(iter(scored.values())),
                               seed=config.seed)
    for name, value in scored.items()
  }  # fmt: skip
  finish_study(
    workdir, config, study,
    sections=[
      sections.compared(scored, gain),
      sections.grid(grid.probes, on_tune),
      sections.strengths(strengths, fitted),
    ],
    values={
      "scored": {
        name: vars(value.accuracy) for name, value in scored.items()
      },
      "over_the_vote": {
        name: value.values() for name, value in gain.items()
      },
      "best_probe": best_probe,  # Of the grid, as DINOv2's authors quote it.
      "grid": [
        {**vars(probe), "tune_accuracy": value}
        for probe, value in zip(grid.probes, on_tune, strict=True)
      ],
      "strengths": {f"{c:.4g}": value for c, value in strengths.items()},
      "lbfgs": {"steps": fitted.steps, "gradient": fitted.gradient},
    },
  )  # fmt: skip


def _sgd(config, workdir, mesh, study, learning):
  """The grid, its accuracies on the tuning rows, the best one, its score."""
  options, encoder = config.probe, probe_tokens.probe_encoder(study.encoder)
  rows, queries = study.embedded, study.queries
  if encoder is not study.encoder:
    cache_dir = config.cache_dir or workdir.path / "cache"
    again = lambda source: stages.embed(
      encoder, source, mesh, cache_dir, config.embed
    )[0]
    rows, queries = again(study.rows_source), again(study.queries_source)
  grid = linear_probe.train_probes(
    rows.embeddings[learning], rows.labels[learning],
    probe_tokens.probe_inputs(encoder),
    learning_rates=tuple(options.learning_rates), seed=config.seed,
    num_classes=study.num_classes, num_steps=options.num_steps,
    batch_size=options.batch_size, mesh=mesh,
  )  # fmt: skip
  is_tune = stages.among(rows.ids, study.tune.ids)
  answers = grid.predict(rows.embeddings[is_tune])
  on_tune = [
    choosing.best_answer(study.tuning, one[None])[1] for one in answers
  ]
  (best,), _ = choosing.best_answer(study.tuning, answers)
  found = choosing.score_answer(
    study.held_out, grid.predict(queries.embeddings)[best], seed=config.seed
  )
  return grid, on_tune, best, found


def _lbfgs(config, study, learning):
  """The strength, the accuracies of all, the last fit, and its score."""
  options, rows = config.probe, study.embedded
  fit = lambda which, **given: logistic_regression.fit(
    rows.embeddings[which], rows.labels[which], num_classes=study.num_classes,
    max_steps=options.max_steps, **given,
  )  # fmt: skip
  last = None

  def score(strength):
    nonlocal last
    last = fit(learning, strength=strength, start=last)
    answers = last.predict(study.tune.embeddings)
    return choosing.best_answer(study.tuning, answers[None])[1]

  strength, scores = logistic_regression.search_strength(
    score, strengths=tuple(options.strengths), refinements=options.refinements
  )
  fitted = fit(rows.labels != UNLABELED, strength=strength)
  answers = fitted.predict(study.queries.embeddings)
  return (
    strength,
    scores,
    fitted,
    choosing.score_answer(study.held_out, answers, seed=config.seed),
  )
