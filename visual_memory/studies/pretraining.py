"""The parts of a pretraining, from settings to values."""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from jax.sharding import Mesh

from visual_memory.data import selection
from visual_memory.encoders import encoder_files
from visual_memory.encoders.settings import config_from, vit
from visual_memory.pretraining import feeds, knn, pools
from visual_memory.pretraining import recipe as recipe_lib
from visual_memory.pretraining.optimizer import OptimizerSettings
from visual_memory.pretraining.views import ViewSettings
from visual_memory.procedural.programs import GRAMMAR_VERSION
from visual_memory.procedural.source import sample_images
from visual_memory.studies import opening
from visual_memory.studies.study_settings import RunSettings, SourceSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackboneSettings:
  """The vision transformer: `vit`'s arguments, pooling and dropped paths."""

  name: str
  image_size: int
  patch_size: int
  changes: Mapping[str, Any]
  pooling: str
  drop_path: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class PicturesSettings(SourceSettings):
  """The pictures to learn from.

  Attributes:
    source: "procedural", "pool", "mixed" or a key of `sources.SOURCES`.
    size: side of the pictures that views are cropped from.
    group: pictures of one class together in a batch.
    num_programs: of procedural pictures.
    per_program: pictures of each, in a pool.
    procedural: options of `sample_images`.
  """

  size: int
  group: int
  num_programs: int
  per_program: int
  procedural: Mapping[str, Any]

  @property
  def opened(self) -> bool:
    """Whether these are no pictures that are made here."""
    return self.source not in ("procedural", "pool", "mixed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings(SourceSettings):
  """Labelled images that score a backbone; without a source none do."""

  num_images: int
  ks: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EverySettings:
  """Steps between lines of the log, checkpoints, evaluations."""

  log: int
  save: int
  evaluate: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
  """A pretraining: see configs/pretrain.py and `recipe.Recipe`."""

  # What decides no result: a run goes on with other values.
  may_change: ClassVar[tuple[str, ...]] = ("every", "tensorboard")
  objective: Literal["dino", "contrastive"]
  batch_size: int
  micro_batches: int
  precision: str
  remat: bool
  temperature: float
  tensorboard: bool
  backbone: BackboneSettings
  head: recipe_lib.HeadSettings
  views: ViewSettings
  optimizer: OptimizerSettings
  teacher: recipe_lib.TeacherSettings
  data: PicturesSettings
  evaluation: EvaluationSettings
  every: EverySettings
  init_from: str


def make_recipe(config: Settings) -> recipe_lib.Recipe:
  """The recipe that settings describe."""
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
      head=config.head,
      views=config.views,
      optimizer=config.optimizer,
      teacher=config.teacher,
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


def make_feed(config: Settings, path: pathlib.Path) -> feeds.Feed:
  """The images that settings name; a pool is written below the path."""
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
  if data.source in ("pool", "mixed"):
    pool = data.options.get("path") or path / "pool"
    mixed = data.source == "mixed"
    drawn = {**data.procedural, "family": "shaders"} if mixed else {}
    pools.write_pool(
      pool,
      num_programs=data.num_programs,
      per_program=data.per_program,
      size=data.size,
      seed=config.seed,
      **(drawn or data.procedural),
    )
    source = pools.open_pool(pool)
    if mixed:
      return pools.mixed_feed(
        source.images,
        identity={"pool": source.fingerprint},
        family=data.procedural.get("family", "shaders"),
        batch_size=config.batch_size,
        seed=config.seed,
      )
  else:
    source = opening.open_source(data)
  return feeds.source_feed(
    source,
    size=data.size,
    batch_size=config.batch_size,
    seed=config.seed,
    group=data.group,
  )


def first_backbone(config: Settings, recipe: recipe_lib.Recipe) -> Any:
  """The params that a run begins with; None for random ones.

  Raises:
    ValueError: the file's transformer is another one than the recipe's.
  """
  if not config.init_from:
    return None
  params, card = encoder_files.read(config.init_from)
  found = config_from(card["config"]) if card["kind"] == "vit" else None
  if found != recipe.backbone:
    raise ValueError(
      f"{config.init_from} holds another transformer than config.backbone"
      f" describes: {found}."
    )
  return params


def make_evaluation(
  config: Settings, recipe: recipe_lib.Recipe, mesh: Mesh
) -> Callable[..., Any] | None:
  """What scores a backbone; None if the settings name no images.

  Only numbers of neighbors that there are count, all but one if none is.

  Raises:
    ValueError: fewer than two images, of which none has a neighbor.
  """
  section = config.evaluation
  source = opening.open_source(section)
  if source is None:
    return None
  if section.num_images < len(source):
    fraction = section.num_images / len(source)
    source = selection.subset(
      source,
      selection.tune_mask(source.ids, fraction=fraction, seed=config.seed),
    )
  most = len(source) - 1
  if most < 1:
    raise ValueError(
      f"{len(source)} images in config.evaluation cannot be each other's"
      " neighbors: name more, or leave evaluation.source empty."
    )
  ks = tuple(k for k in section.ks if k <= most) or (most,)
  return knn.knn_evaluation(recipe, source, ks=ks, mesh=mesh)


def read_log(path: str | os.PathLike) -> list[dict[str, Any]]:
  """Every whole line of a run's metrics.jsonl; the run may be going on."""
  with open(f"{path}/metrics.jsonl", encoding="utf-8") as file:
    return [json.loads(line) for line in file if line.endswith("\n")]
