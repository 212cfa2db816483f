"""Encoders on the same memories and queries, in one table.

Learned ones (`config.learned`) differ in what their entry says alone. What was
rendered, learned and embedded is kept in the cache, so that a stopped run goes
on where it was, and comparisons share what they have in common.
"""

import copy

from experiments import dictionary_stages, stages
from experiments.study import finish_study, open_study
from visual_memory.analysis import choosing, encoder_ranking
from visual_memory.reports.sections import encoder_ranking as sections


def main(config, workdir, mesh) -> None:
  """Learns, embeds, chooses and scores every encoder on every task."""
  clock, pictures, compared, main_study = stages.Clock(workdir), {}, {}, None
  for name, section in _encoders(config, workdir, pictures, clock):
    choices, scored = {}, {}
    for task, data in config.tasks.items():
      own = stages.with_encoder(config, section)
      with own.unlocked():
        own.memory, own.data = data.memory, data.data
      study = open_study(own, workdir, mesh)
      choices[task] = stages.chosen(config, study)
      scored[task] = choosing.score(
        study.held_out, choices[task],
        num_classes=study.num_classes, seed=config.seed,
      )  # fmt: skip
      workdir.log(encoder=name, task=task, accuracy=scored[task].accuracy.mean)
      if name == config.baseline:
        main_study = main_study or study
    compared[name] = sections.Compared(
      encoder=study.encoder, choices=choices, scored=scored,
      learned=name in config.learned,
    )  # fmt: skip
  standings = {
    task: encoder_ranking.rank_encoders(
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
    notes=tuple(config.notes),
    series={name: tuple(of) for name, of in config.series.items()},
    pictures={name: source.images for name, source in pictures.items()},
  )
  finish_study(
    workdir, config, main_study, sections=parts, values=values, tiles=tiles
  )


def _encoders(config, workdir, pictures, clock):
  """The name and section of each encoder, learned where it is not there yet.

  Encoders without the weights they need are left out. `pictures` gets the
  pictures of each family.
  """
  wanted = lambda sections: (
    item for item in sections.items() if item[0] not in config.left_out
  )
  for name, section in wanted(config.encoders):
    if section.name and (section.name != "procedural" or section.weights):
      yield name, section
  cache = dictionary_stages.Cache(config.cache_dir or workdir.path / "cache")
  for name, entry in wanted(config.learned):
    own = copy.deepcopy(config.recipe)
    own.learn, own.pictures.options.family = entry.learn, entry.family
    own.dictionary.num_words = entry.num_words or own.dictionary.num_words
    own.dictionary.dim = entry.dim or own.dictionary.dim
    if entry.family and entry.family not in pictures:
      with clock(f"pictures of {entry.family}"):
        pictures[entry.family] = cache.pictures(own)
    with clock(f"learn {name}"):
      weights = cache.dictionary(own, pictures.get(entry.family))
    section = copy.deepcopy(config.learned_encoder)
    section.weights = str(weights)
    yield name, section
