"""Pictures segmented by a memory of patches, and by features alone."""

from jax.sharding import Mesh

from visual_memory.analysis.segmentation import untrained
from visual_memory.reports.sections import segmentation as sections
from visual_memory.reports.workdir import Clock, Workdir
from visual_memory.studies import finishing, opening, segmentation
from visual_memory.studies.segmentation import Settings


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Runs every task for every encoder and writes one report."""
  clock = Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  rows, queries = map(opening.open_source, (config.memory, config.data))
  with clock("pictures"):
    seen = untrained.picture_variance(
      queries, size=config.pca_size, background=segmentation.background(config)
    )
  cache_dir = opening.cache_dir(config, workdir)
  found = {}
  for name, section in opening.named_encoders(config.encoders).items():
    with clock(name):
      encoder = opening.load_encoder(section)
      found[name] = segmentation.segment(
        config, encoder, rows, queries, mesh, cache_dir
      )
  finishing.finish_run(
    workdir,
    config,
    sections.sections(found, seen, rows.class_names),
    sections.values(found, seen),
    tiles=sections.tiles(found),
    timings=clock.seconds,
    counts={"memory_images": len(rows), "test_images": len(queries)},
    env=env,
  )
