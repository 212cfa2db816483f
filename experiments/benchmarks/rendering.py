"""Times procedural rendering against OpenGL in software, in turns.

  python -m experiments.benchmarks.rendering \\
      --config=configs/benchmark_rendering.py[:smoke] --workdir=DIR
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from experiments import terminal
from visual_memory import distributed, files
from visual_memory.procedural import clouds, glsl, leaves, mixing, source
from visual_memory.reports import workdir


def main(config, path) -> None:
  """Times everything, round after round, and writes JSON."""
  if jax.config.jax_num_cpu_devices < 1:
    jax.config.update("jax_num_cpu_devices", config.num_devices)
  path.mkdir(parents=True, exist_ok=True)
  tasks, device = _tasks(config)
  for name, task in tasks.items():
    logging.info("Compiling %s", name)
    task()
  seconds = {name: [] for name in tasks}
  cpu_seconds = {name: [] for name in tasks}
  for _ in range(config.num_rounds):
    for name, task in tasks.items():
      start, cpu_start = time.perf_counter(), time.process_time()
      task()
      seconds[name].append(time.perf_counter() - start)
      # Of all threads: hardly disturbed by what else the machine does.
      cpu_seconds[name].append(time.process_time() - cpu_start)
  counts = {name: _num_images(name, config) for name in tasks}
  report = {
    "config": config.to_dict(),
    "environment": workdir.environment(),
    "opengl": device,
    "wall": summarize(seconds, counts),
    "cpu": summarize(cpu_seconds, counts),
  }
  files.write_json(path / "benchmark_rendering.json", report)
  for clock in ("wall", "cpu"):
    for name, value in report[clock].items():
      print(clock, name, value if name != "seconds" else "")


def summarize(seconds: dict, counts: dict) -> dict:
  """Median images per second of one clock, and ratios within rounds.

  clouds_over_opengl: how many times as fast as OpenGL; kml_share and
  mixup_share: cost of one image over that of drawing one; kml_mixup_share: of
  a family's image, what is not drawing its six pictures, over drawing them.
  """
  each = {
    name: np.asarray(values) / counts[name] for name, values in seconds.items()
  }
  found = {
    "images_per_s": {
      name: float(1 / np.median(values)) for name, values in each.items()
    },
    "seconds": seconds,
  }
  ratios = {
    "clouds_over_opengl": ("opengl_clouds", "clouds", 0),
    "kml_share": ("kml", "shaders", 0),
    "mixup_share": ("mixup", "shaders", 0),
    "kml_mixup_share": ("kml_mixup", "kml_mixup_sources", -1),
  }
  for ratio, (above, below, offset) in ratios.items():
    if above in each and below in each:
      found[ratio] = float(np.median(each[above] / each[below] + offset))
  return found


def _num_images(name: str, config) -> int:
  """How many images a task makes; six are drawn for each of some."""
  mixed = name.startswith("kml_mixup")
  return config.mixed_batch_size if mixed else config.batch_size


def _tasks(config) -> tuple[dict, str | None]:
  """What is timed: functions without arguments; and OpenGL's device."""
  mesh = distributed.make_mesh()
  size, batch = config.size, config.batch_size
  times = np.linspace(0.1, 10, batch, dtype=np.float32)
  ours = source.on_mesh(
    lambda t: source.quantize(clouds.clouds(t, size=size)), mesh
  )
  tasks = {"clouds": lambda: np.asarray(ours(times))}
  device = None
  try:
    renderer = glsl.Renderer(size=size, floats=False)
    program = renderer.compile(clouds.GLSL, "geeker_300")
    device = renderer.device
    tasks["opengl_clouds"] = lambda: [
      renderer.draw(program, time=float(t)) for t in times
    ]
  except RuntimeError as error:
    logging.warning("Without OpenGL: %s", error)
  images = np.random.default_rng(0).random((batch, size, size, 3), np.float32)
  on_devices = distributed.shard_rows(images, mesh)
  kml = source.on_mesh(lambda x: leaves.kmeans_leaves(x, x, x), mesh)
  mixup = source.on_mesh(lambda x: mixing.mixup(x, x[::-1]), mesh)
  key, ids = jax.random.key(0), jnp.arange(batch, dtype=jnp.int32)
  some = ids[: config.mixed_batch_size]
  sample = functools.partial(source.sample_images, size=size, seed=0, mesh=mesh)

  keys = jax.device_put(
    jnp.broadcast_to(key, some.shape), distributed.row_sharding(mesh)
  )
  draw = functools.partial(
    source.draw_shaders, keys, seed=0, size=size, num=6, mesh=mesh
  )
  alone = {
    "shaders": lambda: np.asarray(sample(key, ids)),
    "shaders_one_device": lambda: np.asarray(sample(key, ids, mesh=None)),
    "kml_mixup": lambda: np.asarray(sample(key, some, family="kml_mixup")),
    "kml_mixup_sources": lambda: jax.block_until_ready(draw(some)),
    "kml": lambda: jax.block_until_ready(kml(on_devices)),
    "mixup": lambda: jax.block_until_ready(mixup(on_devices)),
  }
  return tasks | {name: alone[name] for name in config.tasks}, device


if __name__ == "__main__":
  terminal.run(main)
