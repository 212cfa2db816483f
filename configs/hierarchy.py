"""A taxonomy: learning new classes from few rows, and descending it by tests.

  python -m experiments.launch --config=configs/hierarchy.py \\
      --config.cache_dir=work/cache --workdir=work/hierarchy

By default CIFAR-100's two levels by its pixels: 25,000 rows, 5,000 queries,
about two minutes on two CPU cores. The images are read from cifar100_half.zip
(cifar100/{train,test}/SUPERCLASS/CLASS/NAME.png) under the directory that
VISUAL_MEMORY_DATA names; its nested folders are the taxonomy. Elsewhere it may
be a table: --config.taxonomy.source=csv --config.taxonomy.path=species.csv.
"""

import ml_collections

from configs import cifar10, evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` splits the bundled digits into even and odd ones."""
  config = evaluate.get_config(arg)
  config.title = "A taxonomy of classes"
  config.experiment = "hierarchy"
  config.voting.ks = (1,)

  config.taxonomy = ml_collections.ConfigDict()
  config.taxonomy.source = "folders"  # or csv, joined_names, rows
  config.taxonomy.path = ""  # csv: the file.
  config.taxonomy.rows = ()  # rows: for each class, its path from the top.
  config.taxonomy.levels = ()  # Their names; empty: as the source has them.

  config.hierarchy = ml_collections.ConfigDict()
  config.hierarchy.exemplars = (0, 1, 2, 5, 10, 20, 30, 40, 50)
  config.hierarchy.rows_per_class = 50  # The first ones; 0: all.
  config.hierarchy.descent_queries = 0  # The first ones; 0: all.
  config.hierarchy.num_bins = 2048

  if arg == "smoke":
    config.taxonomy.source = "rows"
    config.taxonomy.rows = tuple(
      (("even", "odd")[digit % 2], str(digit)) for digit in range(10)
    )
    config.hierarchy.exemplars = (0, 1, 5)
    config.hierarchy.rows_per_class = 20
    config.hierarchy.descent_queries = 50
    return config
  cifar10.use_archive(config, "cifar100_half.zip")
  config.taxonomy.levels = ("superclass", "class")
  return config
