"""Which of two pictures is closer: encoders and pixel measures compared."""

from experiments import stages
from visual_memory.analysis import two_afc
from visual_memory.data import selection, triplets
from visual_memory.reports import page
from visual_memory.reports.sections import similarity as sections


def main(config, workdir, mesh) -> None:
  """Asks every encoder and measure the same questions."""
  clock = stages.Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  questions = _triplets(config)
  similarities = {}
  for name, section in config.encoders.items():
    if section.name:
      with clock(name):
        similarities[name] = two_afc.encoder_similarities(
          stages.load_encoder(section), questions, batch_size=config.batch_size
        )
  for name in config.measures:
    with clock(name):
      similarities[name] = two_afc.pixel_similarities(
        two_afc.PIXEL_MEASURES[name], questions, side=config.measured_side
      )
  found = two_afc.compare(similarities, questions)
  if workdir.lead:
    page.write_page(
      workdir.path,
      page.Page(
        title=config.title,
        sections=sections.sections(found),
        config=config.to_dict(),
        tiles=sections.tiles(found),
        timings=clock.seconds,
        counts={"questions": len(questions)},
        env=env,
      ),
      sections.values(found),
    )


def _triplets(config):
  """The questions that the config names."""
  if config.triplets == "nights":
    return triplets.nights(**config.nights)
  if config.triplets != "distorted":
    raise ValueError(
      f"triplets is 'distorted' or 'nights', not {config.triplets!r}."
    )
  source = stages.open_source(config.photographs)
  return triplets.distorted(
    selection.sample(source, config.num_photographs, seed=config.seed),
    gaps=tuple(config.gaps),
    seed=config.seed,
  )
