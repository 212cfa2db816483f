"""Times procedural rendering against OpenGL in software, in turns.

  python -m experiments.benchmark_rendering \\
      --config=configs/benchmark_rendering.py[:smoke] --workdir=DIR
"""

import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from visual_memory import distributed
from visual_memory.procedural import clouds, glsl, leaves, mixing, source
from visual_memory.reports import files, workdir

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to time.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go.")


def main(argv: list[str]) -> None:
  """Times everything, round after round, and writes JSON."""
  if len(argv) > 1:
    raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}.")
  config = _CONFIG.value.lock()
  if jax.config.jax_num_cpu_devices < 1:
    jax.config.update("jax_num_cpu_devices", config.num_devices)
  path = pathlib.Path(_WORKDIR.value)
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
  report = {
    "config": config.to_dict(),
    "environment": workdir.environment(),
    "opengl": device,
    "wall": summarize(seconds, config.batch_size),
    "cpu": summarize(cpu_seconds, config.batch_size),
  }
  files.write_json(path / "benchmark_rendering.json", report)
  for clock in ("wall", "cpu"):
    for name, value in report[clock].items():
      print(clock, name, value if name != "seconds" else "")


def summarize(seconds: dict, batch_size: int) -> dict:
  """Median images per second of one clock, and ratios within rounds."""
  rates = {
    name: batch_size / statistics.median(values)
    for name, values in seconds.items()
  }
  found = {"images_per_s": rates, "seconds": seconds}
  pairs = {
    "clouds_over_opengl_ratio": ("opengl_clouds", "clouds"),
    "kml_cost_ratio": ("kml", "shaders"),
    "mixup_cost_ratio": ("mixup", "shaders"),
  }
  for ratio, (above, below) in pairs.items():
    if above in seconds and below in seconds:
      turns = zip(seconds[above], seconds[below], strict=True)
      found[ratio] = statistics.median(a / b for a, b in turns)
  return found


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
  ids = jnp.arange(batch, dtype=jnp.int32)
  alone = {
    "shaders": lambda: np.asarray(
      source.sample_images(jax.random.key(0), ids, size=size, seed=0, mesh=mesh)
    ),
    "kml": lambda: jax.block_until_ready(kml(on_devices)),
    "mixup": lambda: jax.block_until_ready(mixup(on_devices)),
  }
  return tasks | {name: alone[name] for name in config.tasks}, device


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "workdir"])
  app.run(main)
