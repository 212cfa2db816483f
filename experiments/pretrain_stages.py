"""The parts of a pretraining, from config sections to values."""

import functools
import json

from experiments import stages
from visual_memory.data import selection
from visual_memory.encoders.settings import vit
from visual_memory.pretraining import feeds, knn, pools
from visual_memory.pretraining import recipe as recipe_lib
from visual_memory.pretraining.optimizer import OptimizerSettings
from visual_memory.pretraining.views import ViewSettings
from visual_memory.procedural.programs import GRAMMAR_VERSION
from visual_memory.procedural.source import sample_images


def make_recipe(config) -> recipe_lib.Recipe:
  """The recipe that a config describes."""
  backbone = config.backbone
  return recipe_lib.checked(
    recipe_lib.Recipe(
      objective=config.objective,
      backbone=vit(
        backbone.name,
        image_size=backbone.image_size,
        patch_size=backbone.patch_size,
        **_plain(backbone.changes),
      ),
      pooling=backbone.pooling,
      drop_path=backbone.drop_path,
      head=recipe_lib.HeadSettings(**config.head),
      views=ViewSettings(**_plain(config.views)),
      optimizer=OptimizerSettings(
        num_steps=config.num_steps, **config.optimizer
      ),
      teacher=recipe_lib.TeacherSettings(**config.teacher),
      temperature=config.temperature,
      batch_size=config.batch_size,
      micro_batches=config.micro_batches,
      precision=config.precision,
      remat=config.remat,
      seed=config.seed,
    )
  )


def _plain(section) -> dict:
  """A section whose lists are tuples again, after a time as JSON."""
  return {
    name: tuple(value) if isinstance(value, list) else value
    for name, value in section.items()
  }


def make_feed(config, path) -> feeds.Feed:
  """The images that a config names."""
  data = config.data
  if data.source == "procedural":
    options = {"size": data.size, "seed": config.seed, **data.procedural}
    return feeds.procedural_feed(
      functools.partial(sample_images, **options),
      identity={"grammar_version": GRAMMAR_VERSION, **options},
      batch_size=config.batch_size,
      num_programs=data.num_programs,
      group=data.group,
      seed=config.seed,
    )
  if data.source == "pool":
    pool = data.options.path or path / "pool"
    pools.write_pool(
      pool,
      num_programs=data.num_programs,
      per_program=data.per_program,
      size=data.size,
      seed=config.seed,
      **data.procedural,
    )
    source = pools.open_pool(pool)
  else:
    source = stages.open_source(data)
  return feeds.source_feed(
    source,
    size=data.size,
    batch_size=config.batch_size,
    seed=config.seed,
    group=data.group,
  )


def make_evaluation(config, recipe, mesh):
  """What scores a backbone; None if the config names no images."""
  section = config.evaluation
  source = stages.open_source(section)
  if source is None:
    return None
  fraction = min(1.0, section.num_images / len(source))
  rows = selection.tune_mask(source.ids, fraction=fraction, seed=config.seed)
  return knn.knn_evaluation(
    recipe, selection.subset(source, rows), ks=tuple(section.ks), mesh=mesh
  )


def read_log(path) -> list:
  """Every whole line of a run's metrics.jsonl; the run may be going on."""
  with open(f"{path}/metrics.jsonl", encoding="utf-8") as file:
    return [json.loads(line) for line in file if line.endswith("\n")]
