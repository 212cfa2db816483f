"""Figure 4 of the paper: discovering iNaturalist's species, on seven levels.

  python -m experiments.launch --config=configs/inaturalist.py \\
      --config.memory.options.path=DIR --config.data.options.path=DIR \\
      --config.encoder.weights=dinov2_vitl14_pretrain.pth \\
      --workdir=work/inaturalist

DIR has the folders train_mini (50 images of each of the 10,000 species) and
val (10 of each) of iNaturalist 2021, unpacked; the names of their class
folders spell the taxonomy out. Embedding 600,000 images takes an hour on one
large accelerator, the curves some minutes. Published: the genus of a species
without any exemplar is right for 35.2 % of the queries.
"""

import ml_collections

from configs import hierarchy


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `hierarchy`."""
  config = hierarchy.get_config(arg)
  if arg == "smoke":
    return config
  config.title = "iNaturalist 2021, species discovery"
  config.encoder.name = "dinov2_vitl14"
  config.memory.source = config.data.source = "folder"
  config.memory.options.path = config.data.options.path = "inaturalist"
  config.memory.options.split = "train_mini"
  config.data.options.split = "val"
  config.taxonomy.source = "joined_names"
  config.taxonomy.levels = ()
  config.hierarchy.descent_queries = 1000
  return config
