"""Table 2: ImageNet-A, R, Sketch, V2 and ReaL, DINOv2 ViT-L/14.

  python -m experiments.launch --config=configs/paper/table2.py \\
      --config.cache_dir=work/cache --workdir=work/table2

One large accelerator; minutes once embedded. Published, of all classes by the
memory of ImageNet: 58.8, 62.8, 61.5, 75.6 and 87.1 %. The rows with Gemini and
with a memory of JFT cannot be repeated.
"""

import ml_collections

from configs import shifted_sets
from configs.paper import on_imagenet, path, use_folder


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `shifted_sets`."""
  if arg:
    return shifted_sets.get_config(arg)
  config = shifted_sets.get_config("imagenet")
  for section in config.sets.values():
    use_folder(section, section.options.path, section.options.split)
  config.sets.real.labels = path("real.json")
  config.voting.ks = tuple(range(1, 101))
  return on_imagenet(config, "Table 2: other test sets")
