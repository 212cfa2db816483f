"""Procedural pictures per second: ours against OpenGL in software.

  .venv/bin/python -m experiments.benchmarks.rendering \\
      --config=configs/benchmark_rendering.py --workdir=work/rendering

One shader, written in both languages (procedural/clouds.py), and ours alone:
random programs, leaves and mixing of pictures already drawn, and a mixed family
beside the drawing of its six pictures. Needs the gl extra and Mesa (libegl1,
libgl1, libgl1-mesa-dri). 90 s on two CPU cores, most of it compiling; run
nothing beside. Expected there: see experiments/results.

A device for each core draws faster than one device with all of them
("shaders_one_device"), whose threads wait for each other after every operator:
set JAX_NUM_CPU_DEVICES to the number of cores and pass a mesh.

What bounds us. OpenGL in software compiles a whole shader into one loop that
holds 4 to 16 pixels in registers. XLA compiles loops over a picture: fast ones,
of the same vector width, if a loop writes whole rows of numbers; one number at
a time if it writes [S, S, 3]. So octaves are a scan, whose picture of 64 KiB
stays in the second-level cache, and channels are put together last. A noise is
some 70 operations, 30 of them in its four hashes: arithmetic, not memory, is
the limit. XLA uses 256 bits of a processor's 512 unless
XLA_FLAGS=--xla_cpu_prefer_vector_width=512 says otherwise.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` draws a few small pictures once."""
  smoke = evaluate.is_smoke(arg)
  config = ml_collections.ConfigDict()
  config.size = 128
  config.batch_size = 256
  config.num_rounds = 7
  config.num_devices = 2  # CPU devices: one for each core.
  config.mixed_batch_size = 64  # Six times as many pictures are drawn.
  config.tasks = (
    "shaders",
    "shaders_one_device",
    "kml",
    "mixup",
    "kml_mixup",
    "kml_mixup_sources",
  )
  if smoke:
    config.size = 16
    config.batch_size = 4
    config.mixed_batch_size = 4
    config.num_rounds = 1
    config.num_devices = 1
    config.tasks = ("kml", "mixup")
  return config
