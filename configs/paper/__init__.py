"""The tables and figures of the visual-memory paper, on its own data.

Geirhos et al., "Towards flexible perception with visual memory", ICML 2025. One
module for each table, figure or appendix; `python -m experiments.paper` runs
them all. Each builds on the experiment's own config, and changes what is asked
and of which encoder. Data are looked for under VISUAL_MEMORY_DATA, laid out as
`experiments/paper.py` says. What to expect: experiments/published.py.

Hardware and time, wherever a module says "once embedded": ImageNet's 1.33
million images cost about 2e17 operations by ViT-L/14 (6e16 by B/14, 2e16 by
S/14), an estimate from the size of the model: an hour on one large accelerator
that reads images fast enough. The cache keeps them. A search of all 1.28
million rows among themselves is 3e15 operations; minutes there, a day on two
CPU cores.
"""

import os

import ml_collections
from ml_collections import config_dict

from configs import evaluate

ENCODERS = (
  "dinov2_vitl14",
  "dinov2_vitb14",
  "dinov2_vits14",
  "clip_vitl14",
  "clip_vitb16",
)
"""The five of the paper."""


def path(name: str) -> str:
  """Where a data set is, under VISUAL_MEMORY_DATA."""
  return os.path.join(os.environ.get("VISUAL_MEMORY_DATA", "paper_data"), name)


def use_encoder(section: ml_collections.ConfigDict, name: str) -> None:
  """Makes an `encoder` section that of a published encoder, as published."""
  kind = "clip" if name.startswith("clip") else "dino"
  section.name = name
  section.preprocess = f"as_published_{kind}"
  section.options = ml_collections.ConfigDict()


def use_folder(
  section: ml_collections.ConfigDict, name: str, split: str | None = None
) -> None:
  """Makes a source section that of a folder of images."""
  section.source = "folder"
  section.classes = ()
  section.options.path = path(name)
  section.options.split = split or config_dict.placeholder(str)


def on_imagenet(
  config: ml_collections.ConfigDict,
  title: str,
  encoder: str = "dinov2_vitl14",
  data: str = "imagenet",
) -> ml_collections.ConfigDict:
  """An experiment on ImageNet: train is the memory, val the queries."""
  config.title = title
  if "encoder" in config:
    use_encoder(config.encoder, encoder)
  use_folder(config.memory, data, "train")
  use_folder(config.data, data, "val")
  return config


def voters(
  config: ml_collections.ConfigDict, title: str, *encoders: str
) -> ml_collections.ConfigDict:
  """`aggregation` on ImageNet with these encoders."""
  config.encoders = ml_collections.ConfigDict()
  for name in encoders:
    config.encoders[name] = evaluate.encoder(name)
    use_encoder(config.encoders[name], name)
  return on_imagenet(config, title)
