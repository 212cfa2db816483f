"""Pictures segmented by a memory of patches, and by features alone."""

import pathlib

from experiments import stages
from visual_memory.analysis.latency import Stopwatch
from visual_memory.analysis.segmentation import (
  patch_voting,
  token_spread,
  untrained,
)
from visual_memory.analysis.segmentation.agreement import segment_scores
from visual_memory.data import selection
from visual_memory.encoders.embedding import embed as embed_lib
from visual_memory.memory.memory import VisualMemory
from visual_memory.reports import page
from visual_memory.reports.sections import segmentation as sections


def main(config, workdir, mesh) -> None:
  """Runs every task for every encoder and writes one report."""
  clock = stages.Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  rows, queries = (
    selection.sample(stages.open_source(section), count, seed=config.seed)
    for section, count in (
      (config.memory, config.num_rows),
      (config.data, config.num_queries),
    )
  )
  with clock("pictures"):
    seen = untrained.picture_variance(
      queries, size=config.pca_size, background=_background(config)
    )
  cache_dir = pathlib.Path(config.cache_dir or workdir.path / "cache")
  found = {}
  for name, section in config.encoders.items():
    if section.name:
      with clock(name):
        encoder = stages.load_encoder(section)
        found[name] = _segment(config, encoder, rows, queries, mesh, cache_dir)
  if workdir.lead:
    page.write_page(
      workdir.path,
      page.Page(
        title=config.title,
        sections=sections.sections(found, seen, rows.class_names),
        config=config.to_dict(),
        tiles=sections.tiles(found),
        timings=clock.seconds,
        counts={"memory_images": len(rows), "test_images": len(queries)},
        env=env,
      ),
      sections.values(found, seen),
    )


def _segment(config, encoder, rows, queries, mesh, cache_dir):
  """The tasks of the config for one encoder."""
  found = {}
  if "neighbors" in config.tasks:
    found |= _by_neighbors(config, encoder, rows, queries, mesh, cache_dir)
  options = _features(config)
  of_clusters = {"num_clusters": config.num_clusters, "seed": config.seed}
  if "components" in config.tasks:
    found["explained"] = untrained.explained_variance(
      encoder, queries, size=config.pca_size, background=_background(config),
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
    temperatures=tuple(config.temperatures),
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

  settings = stages.voter_settings(config.voting)
  at_once = {"images_at_once": config.images_at_once}
  memory = VisualMemory.from_embedded(
    embed(others, config.per_image), mesh=mesh
  )
  choice = patch_voting.choose(
    patch_voting.patch_confusions(
      embed(held_out), held_out, memory, settings=settings,
      ks=tuple(config.voting.ks), **at_once,
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
      counts[choice.voter][choice.k], background=_background(config)
    ),
    "segmented": patch_voting.segmented(
      asked, memory, setting=setting, k=choice.k,
      shape=(encoder.preprocess.size,) * 2, image_ids=shown.ids,
    ),
  }  # fmt: skip


def _background(config):
  """The class that is no object, if the data have one."""
  return None if config.background < 0 else config.background


def _features(config):
  """Options of all that looks at whole pictures."""
  return {"batch_size": config.images_at_once}
