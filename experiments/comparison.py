"""Encoders on the same memories and queries, in one table.

Learned ones (`config.learned`) differ in what their entry says alone. What was
rendered, learned and embedded is kept in the cache, so that a stopped run goes
on where it was, and comparisons share what they have in common.
"""

from jax.sharding import Mesh

from visual_memory.analysis import aggregation, choosing
from visual_memory.reports.sections import encoder_ranking as sections
from visual_memory.reports.workdir import Clock, Workdir
from visual_memory.studies import opening
from visual_memory.studies.comparison import Settings, encoders, ways
from visual_memory.studies.study import finish_study, open_study
from visual_memory.studies.study_settings import replaced


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Learns, embeds, chooses and scores every encoder on every task."""
  clock, pictures, compared, main_study = Clock(workdir), {}, {}, None
  for encoder, section in encoders(config, workdir, pictures, clock):
    for name, whitening in ways(config, encoder).items():
      choices, scored = {}, {}
      for task, data in config.tasks.items():
        own = dict(encoder=section, memory=data.memory, data=data.data)
        own["retrieval__whitening"] = whitening
        study = open_study(replaced(config, **own), workdir, mesh)
        choices[task] = opening.chosen(config, study)
        scored[task] = choosing.score(
          study.held_out, choices[task],
          num_classes=study.num_classes, seed=config.seed,
        )  # fmt: skip
        accuracy = scored[task].accuracy.mean
        workdir.log(encoder=name, task=task, accuracy=accuracy)
        if name == config.baseline:
          main_study = main_study or study
      compared[name] = sections.Compared(
        encoder=study.encoder, choices=choices, scored=scored,
        learned=encoder in config.learned,
      )  # fmt: skip
  standings = {
    task: aggregation.rank_encoders(
      {name: one.scored[task] for name, one in compared.items()},
      baseline=config.baseline, seed=config.seed,
    )
    for task in config.tasks
  }  # fmt: skip
  main_study.clock.seconds.update(clock.seconds)
  parts, values, tiles = sections.sections(
    compared,
    standings,
    baseline=config.baseline,
    notes=config.notes,
    series=config.series,
    pictures={name: source.images for name, source in pictures.items()},
  )
  finish_study(
    workdir, config, main_study, sections=parts, values=values, tiles=tiles
  )
