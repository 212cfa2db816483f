"""CIFAR-10 by its raw pixels: the floor that every encoder must beat.

  python -m experiments.launch --config=configs/cifar10.py \\
      --workdir=work/cifar10

50,000 rows, 10,000 queries, 32 x 32 pixels normalized by ImageNet's mean and
standard deviation, D = 3,072. Expected accuracy, from an independent float64
computation: 40.5 % at k = 1; at k = 100 plurality 39.7, distance 39.9, softmax
43.1, rank 44.3 %. About a minute on two CPU cores.

The images are read from cifar10.zip (cifar10/{train,test}/CLASS/NAME.jpg)
under the directory that VISUAL_MEMORY_DATA names.
"""

import os

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` evaluates a part of the bundled digits."""
  config = evaluate.get_config(arg)
  config.title = "CIFAR-10, raw pixels"
  if arg == "smoke":
    config.memory.sample, config.data.sample = 400, 200
    return config
  use_archive(config, "cifar10.zip")
  return config


def use_archive(config: ml_collections.ConfigDict, name: str) -> None:
  """Rows and queries from an archive below VISUAL_MEMORY_DATA."""
  for section, split in ((config.memory, "train"), (config.data, "test")):
    section.source = "folder"
    section.options.path = archive(name)
    section.options.split = split


def archive(name: str) -> str:
  """The path of a file below VISUAL_MEMORY_DATA."""
  return os.path.join(
    os.environ.get("VISUAL_MEMORY_DATA", "../shared/data"), name
  )


def of(
  experiment: str,
  arg: str,
  *,
  title: str,
  shipped: bool = False,
  compared: bool = False,
) -> ml_collections.ConfigDict:
  """The config of an experiment on these pictures; `smoke` on the digits.

  Args:
    experiment: its name.
    arg: the form.
    title: of its page.
    shipped: by the encoder that comes with the package, rather than pixels.
    compared: with a section for further encoders, to name and compare.
  """
  config = get_config(arg)
  config.experiment, config.title = experiment, title
  if shipped and arg != "smoke":
    config.encoder = evaluate.encoder("procedural_patches")
  if compared:
    config.encoders = ml_collections.ConfigDict()
    config.encoders.own = evaluate.encoder("")  # None.
  return config
