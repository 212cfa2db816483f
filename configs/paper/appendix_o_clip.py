"""Appendix O: two objects in one image, CLIP ViT-L/14.

  python -m experiments.launch --config=configs/paper/appendix_o_clip.py \\
      --config.cache_dir=work/cache --workdir=work/appendix_o_clip

One large accelerator; minutes once embedded. Published as examples: neighbors
by CLIP blend the objects more often.
"""

import ml_collections

from configs import composition
from configs.paper import on_imagenet


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is that of `composition`."""
  config = composition.get_config(arg)
  if arg == "smoke":
    return config
  return on_imagenet(
    config, "Appendix O: compositionality, CLIP", "clip_vitl14"
  )
