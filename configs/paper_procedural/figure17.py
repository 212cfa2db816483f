"""Figure 17: where every encoder looks, by GradCAM, on ImageNet.

  python -m experiments.launch --config=configs/paper_procedural/figure17.py \\
      --config.cache_dir=work/cache --workdir=work/figure17

The pictures of figure 8 and 15, and the same run; no numbers are published. The
paper takes the gradient of a linear probe's class score (layer unpublished);
here it is that of the similarity with the nearest rows, so nothing is trained.
"""

import ml_collections

from configs.paper_procedural import figure8


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `galleries`."""
  config = figure8.get_config(arg)
  if not arg:
    config.title = "Figure 17: where every encoder looks"
  return config
