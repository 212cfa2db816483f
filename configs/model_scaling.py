"""Accuracy against the size of the encoder: figure 16 of the procedural paper.

  python -m experiments.launch --config=configs/model_scaling.py \\
      --config.cache_dir=work/cache --workdir=work/model_scaling

Dictionaries of shader patches, otherwise by configs/dictionary.py: more words
at D = 384, and longer embeddings of 400 words. CIFAR-10 and the bundled digits;
about half an hour on two CPU cores.

On machines that can pretrain vision transformers, give one exported encoder
for each size, and they are a curve of their own:

  python -m experiments.launch --config=configs/pretrain.py \\
      --config.backbone.name=vit_ti --workdir=work/vit_ti     # vit_s, vit_b
  python -m experiments.launch --config=configs/export.py \\
      --config.run=work/vit_ti --config.name=vit_ti --workdir=work/export_ti
  ... --config=configs/model_scaling.py \\
      --config.encoders.vit_ti.weights=work/export_ti/vit_ti.npz

The paper's figure has no table: accuracy grows from ViT-Ti over S to B.
"""

import ml_collections

from configs import comparison, evaluate

WORDS = (50, 100, 200, 400)
DIMS = (96, 192, 384)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` compares tiny dictionaries on the digits."""
  config = comparison.get_config(arg)
  config.title = "Accuracy against the size of the encoder"
  family, words, dims = "shaders", WORDS, DIMS
  if arg == "smoke":
    family, words, dims = "fractal_noise", (8, 16), (16,)
  config.baseline = f"words_{words[-1]}"
  config.learned = ml_collections.ConfigDict()
  for count in words:
    config.learned[f"words_{count}"] = comparison.learned(
      family, num_words=count
    )
  for dim in dims[:-1]:
    config.learned[f"dim_{dim}"] = comparison.learned(family, dim=dim)
  config.notes = ()
  sizes = ("vit_ti", "vit_s", "vit_b")
  config.encoders = ml_collections.ConfigDict()
  for size in sizes:  # If they have weights.
    config.encoders[size] = evaluate.encoder("procedural")
  config.series.words = tuple(f"words_{count}" for count in words)
  config.series.dimensions = (
    *(f"dim_{dim}" for dim in dims[:-1]), config.baseline,
  )  # fmt: skip
  config.series.vit = sizes
  return config
