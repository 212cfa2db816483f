"""Pictures segmented by a memory of patches, and by features alone."""

import dataclasses
import pathlib
from typing import Literal

from jax.sharding import Mesh

from visual_memory.analysis.latency import Stopwatch
from visual_memory.analysis.segmentation import (
  patch_voting,
  token_spread,
  untrained,
)
from visual_memory.analysis.segmentation.agreement import segment_scores
from visual_memory.data import selection
from visual_memory.data.image_source import ImageSource
from visual_memory.encoders.embedding import embed as embed_lib
from visual_memory.encoders.encoder import Encoder
from visual_memory.memory.memory import VisualMemory
from visual_memory.reports.sections import segmentation as sections
from visual_memory.studies.study_settings import StudySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """Pictures to remember and to segment, encoders, and tasks.

  Attributes:
    encoders: by name.
    tasks: that are done.
    num_prompts: drawn from the rows' pictures by their ids; 0: all.
    per_image: patches of each picture that are remembered; None: all.
    images_at_once: that are looked at.
    background: a class that pixel accuracy can leave out; -1: none.
    pca_size: side of the pictures whose components are compared.
    num_clusters: of k-means.
    temperatures: of attention, to choose among.
    num_choosing: prompts that choose it.
    prompts_held_out: the fraction of these that is asked about.
    num_spread: prompts whose tokens are looked at.
    least_share: of a picture, to be asked for by a prompt.
    shown: pictures in the figures.
  """

  tasks: tuple[Literal["neighbors", "components", "prompts", "clusters"], ...]
  num_prompts: int
  per_image: int | None
  images_at_once: int
  background: int
  pca_size: int
  num_clusters: int
  temperatures: tuple[float, ...]
  num_choosing: int
  prompts_held_out: float
  num_spread: int
  least_share: float
  shown: int


def segment(
  config: Settings,
  encoder: Encoder,
  rows: ImageSource,
  queries: ImageSource,
  mesh: Mesh,
  cache_dir: pathlib.Path,
) -> sections.Found:
  """The tasks of the settings for one encoder."""
  found = {}
  if "neighbors" in config.tasks:
    found |= _by_neighbors(config, encoder, rows, queries, mesh, cache_dir)
  options = _features(config)
  of_clusters = {"num_clusters": config.num_clusters, "seed": config.seed}
  if "components" in config.tasks:
    found["explained"] = untrained.explained_variance(
      encoder, queries, size=config.pca_size, background=background(config),
      **options,
    )  # fmt: skip
  if "prompts" in config.tasks:
    found |= _by_prompts(config, encoder, rows, queries)
  if "clusters" in config.tasks:
    found["clustered"] = untrained.clustered_iou(
      encoder, queries, **of_clusters, **options
    )
  shown = selection.sample(queries, config.shown, seed=config.seed)
  pictures = untrained.pictures(encoder, shown, **of_clusters)
  return sections.Found(pictures=pictures, **found)


def _by_prompts(config, encoder, rows, queries):
  """One prompt for each class; the form of attention chosen on prompts."""
  prompts = selection.sample(rows, config.num_prompts, seed=config.seed)
  options = {"least_share": config.least_share, "seed": config.seed}
  options |= _features(config)
  best, scores = untrained.best_attention(
    encoder, selection.sample(prompts, config.num_choosing, seed=config.seed),
    temperatures=config.temperatures,
    held_out=config.prompts_held_out, **options,
  )  # fmt: skip
  return {
    "attention": scores,
    "spread": token_spread.token_spread(
      encoder, selection.sample(prompts, config.num_spread, seed=config.seed),
      batch_size=config.images_at_once,
    ),
    "prompted": untrained.prompted_iou(
      encoder, prompts, queries, ways={**untrained.WAYS, "tuned": best},
      **options,
    ),
  }  # fmt: skip


def _by_neighbors(config, encoder, rows, queries, mesh, cache_dir):
  """Votes of a memory of patches, chosen on pictures held out whole."""
  others, held_out = selection.split_tune(
    rows, fraction=config.voting.tune_fraction, seed=config.seed
  )

  def embed(source, per_image=None):
    return embed_lib.embed(
      encoder, source, tokens="patches", per_image=per_image, mesh=mesh,
      seed=config.seed, cache_dir=cache_dir / "embeddings",
    )  # fmt: skip

  settings = config.voting.settings()
  at_once = {"images_at_once": config.images_at_once}
  memory = VisualMemory.from_embedded(
    embed(others, config.per_image), mesh=mesh
  )
  choice = patch_voting.choose(
    patch_voting.patch_confusions(
      embed(held_out), held_out, memory, settings=settings,
      ks=config.voting.ks, **at_once,
    )
  )  # fmt: skip
  memory = memory.add(embed(held_out, config.per_image))
  stopwatch, setting = Stopwatch(), settings[choice.voter]
  with stopwatch("embed"):
    asked = embed(queries)
  counts = patch_voting.patch_confusions(
    asked, queries, memory, settings={choice.voter: setting}, ks=(choice.k,),
    stopwatch=stopwatch, **at_once,
  )  # fmt: skip
  shown = selection.sample(queries, config.shown, seed=config.seed)
  return {
    "choice": choice,
    "seconds": stopwatch.seconds,
    "scores": segment_scores(
      counts[choice.voter][choice.k], background=background(config)
    ),
    "segmented": patch_voting.segmented(
      asked, memory, setting=setting, k=choice.k,
      shape=(encoder.preprocess.size,) * 2, image_ids=shown.ids,
    ),
  }  # fmt: skip


def background(config: Settings) -> int | None:
  """The class that is no object, if the data have one."""
  return None if config.background < 0 else config.background


def _features(config):
  """Options of all that looks at whole pictures."""
  return {"batch_size": config.images_at_once}
