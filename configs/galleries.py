"""Nearest neighbors of the same queries by several encoders, side by side.

  python -m experiments.launch --config=configs/galleries.py \\
      --config.cache_dir=work/cache --workdir=work/galleries

The first queries of every class with their nearest rows by the encoder that
comes with the package, a vision transformer with random weights, and pixels;
and for each query where the similarity comes from (GradCAM of transformers, the
exact parts of a dictionary). Minutes on two CPU cores for CIFAR-10. The form
`photographs` looks at 200 photographs without classes, each among the others.
"""

import os

import ml_collections

from configs import cifar10, evaluate, linear_probe


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` shows a few digits, `photographs` real pictures."""
  config = cifar10.get_config("" if arg == "photographs" else arg)
  config.experiment = "galleries"
  config.title = "Nearest neighbors by encoder"
  config.encoders = ml_collections.ConfigDict()
  config.encoders.procedural = evaluate.encoder("procedural_patches")
  config.encoders.random = evaluate.encoder("vit_random")
  config.encoders.pixels = evaluate.encoder("pixels")
  config.encoders.own = evaluate.encoder("")  # None.
  config.shown = ml_collections.ConfigDict()
  config.shown.k = 8  # Neighbors of each query.
  config.shown.per_class = 2  # Queries, where they have classes.
  config.shown.count = 20  # Queries in all.
  config.probe = linear_probe.regression()  # Whose logit the maps are of;
  config.probe.strengths = ()  # without: of similarities with the neighbors.
  if arg == "smoke":
    config.voting.ks = (1, 3)
    config.shown.k, config.shown.per_class, config.shown.count = 3, 1, 4
    config.encoders.procedural.name = ""
    config.encoders.pixels.options.size = 8
    config.encoders.random.options.update(size=8, depth=1, dim=24, heads=2)
  elif arg == "photographs":
    config.title = "Nearest photographs by encoder"
    root = os.environ.get("VISUAL_MEMORY_DATA", "../shared/data")
    config.memory.source, config.data.source = "folder", ""
    config.memory.options.split = None
    config.memory.options.path = os.path.join(root, "imagenet_sample_200.zip")
    config.memory.options.unlabeled = True
    config.encoders.random = evaluate.encoder("vit_random", size=128, patch=8)
  return config
