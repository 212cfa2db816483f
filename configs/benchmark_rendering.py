"""Procedural pictures per second: ours against OpenGL in software.

  .venv/bin/python -m experiments.benchmark_rendering \\
      --config=configs/benchmark_rendering.py --workdir=work/rendering

One shader, written in both languages (procedural/clouds.py), and ours alone:
random programs, and leaves and mixing of pictures already drawn. Needs the gl
extra and Mesa (libegl1, libgl1, libgl1-mesa-dri). Two minutes on two CPU
cores; run nothing beside. Expected there: see experiments/results.
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` draws a few small pictures once."""
  if arg not in ("", "smoke"):
    raise ValueError(f"Unknown form {arg!r}: leave it out, or say smoke.")
  config = ml_collections.ConfigDict()
  config.size = 128
  config.batch_size = 256
  config.num_rounds = 7
  config.num_devices = 2  # CPU devices: one for each core.
  config.mixed_batch_size = 64  # Six times as many pictures are drawn.
  config.tasks = ("shaders", "kml", "mixup", "kml_mixup", "kml_mixup_sources")
  if arg == "smoke":
    config.size = 16
    config.batch_size = 4
    config.mixed_batch_size = 4
    config.num_rounds = 1
    config.num_devices = 1
    config.tasks = ("kml", "mixup")
  return config
