"""Times what feeds an accelerator: decoding, and resizing by host and device.

  python -m experiments.benchmarks.pictures \\
      --config=configs/benchmark_pictures.py[:smoke] \\
      --config.data.options.path=PHOTOGRAPHS --workdir=DIR

By CPU time, which other work hardly disturbs, the images of a core and second;
by the wall, those of as many threads together, and those of the devices.
"""

import statistics
import time

import jax
import numpy as np

from experiments import terminal
from experiments.benchmarks import peers
from visual_memory import distributed, files
from visual_memory.data import batching, preprocess, sources
from visual_memory.encoders.embedding import device_resize
from visual_memory.reports import workdir


def main(config, path) -> None:
  """Times everything, round after round, and writes JSON."""
  path.mkdir(parents=True, exist_ok=True)
  options = {k: v for k, v in config.data.options.items() if v is not None}
  source = sources.open_source(config.data.source, **options)
  mesh, prepare = distributed.make_mesh(), preprocess.PRESETS[config.preprocess]
  kept = device_resize.chosen("device", prepare, source, mesh=mesh)
  pixels = batching.Pixels(prepare, normalized=True)
  read = getattr(source, "unpacked", lambda row: source[row].image)
  rows = range(len(source))
  images = [read(row) for row in rows]
  slots = {
    kind: np.zeros((len(images), *kind.shape), kind.dtype)
    for kind in (kept, pixels)
  }

  def write(kind) -> None:
    for image, slot in zip(images, slots[kind], strict=True):
      kind.write(image, slot)

  def batches(kind, threads) -> None:
    options = {"batch_size": config.batch_size, "num_workers": threads}
    for _ in batching.batches(source, prepare, kept=kind, **options):
      pass

  write(kept)
  write(pixels)
  lines = distributed.shard_rows(slots[kept], mesh)
  own = {
    "decode": lambda: [read(row) for row in rows],
    "host_resize": lambda: write(pixels),
    "device_resize": lambda: write(kept),
  }
  together = {
    f"{name}_{threads}_threads": lambda k=kind, n=threads: batches(k, n)
    for threads in config.threads
    for name, kind in (("host", None), ("device", kept))
  }
  on_devices = lambda: jax.block_until_ready(kept.pixels(lines, mesh=mesh))
  together["device"] = on_devices
  equal = np.array_equal(np.asarray(on_devices()), slots[pixels])
  found = {}
  for name, task, clock in (
    *((name, task, time.process_time) for name, task in own.items()),
    *((name, task, time.perf_counter) for name, task in together.items()),
  ):
    seconds = [_seconds(task, clock) for _ in range(config.num_rounds)]
    found[name] = len(images) / statistics.median(seconds)
    print(f"{name:20} {found[name]:9.1f} images a second", flush=True)
  report = {
    "config": config.to_dict(),
    "environment": workdir.environment(),
    "cpu": peers.cpu(),
    "side": kept.side,
    "device_equals_host": equal,
    "share_that_fits": np.mean(
      [kept.fits(*preprocess.sides(image)) for image in images]
    ).item(),
    "megapixels": np.mean(
      [np.prod(preprocess.sides(image)) / 1e6 for image in images]
    ).item(),
    "images_per_s": found,
  }
  files.write_json(path / "benchmark_pictures.json", report)


def _seconds(task, clock) -> float:
  start = clock()
  task()
  return clock() - start


if __name__ == "__main__":
  terminal.run(main, required=("config", "workdir"))
