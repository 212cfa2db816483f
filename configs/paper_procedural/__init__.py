"""The tables and figures of the procedural-data paper, on its own data.

Rodriguez-Munoz et al., "Separating knowledge and perception with procedural
data", ICML 2025. One module for each table or figure; `python -m
experiments.paper --paper=procedural` runs them all. Each builds on the
experiment's own config. Data are looked for under VISUAL_MEMORY_DATA, laid out
as `experiments/paper.py` says. What to expect: published_procedural.py there.

The paper's encoders are ViT-S/16 trained by DINO; a model takes part if its
weights (DINO's published .pth layout) are there as weights/MODEL.pth. Beside
them stand the encoder shipped here, random weights and raw pixels.

Time: ViT-S/16 takes some 9e9 operations an image (an estimate from its size):
minutes on one accelerator for all but ImageNet and Food-101.
"""

import os

import ml_collections

from configs import evaluate
from configs.paper import path, use_folder

MODELS = (
  "imagenet",
  "places",
  "kml_mixup",
  "kml",
  "shaders_mixup",
  "shaders",
  "stylegan",
)
"""What the paper's encoders were trained on."""

KS = (1, 2, 3, 4, 5, 10, 20, 100, 200)
"""As published for the small data sets; T is 0.07."""

MEDMNIST = (
  "pathmnist", "dermamnist", "octmnist", "pneumoniamnist", "breastmnist",
  "bloodmnist", "tissuemnist", "organamnist", "organcmnist", "organsmnist",
)  # fmt: skip

WITHOUT = ("Figures 1 to 4, 6, 7 and 13 have no config here.",)
"""What `experiments.paper --list` says of the rest of the paper."""

__all__ = ["KS", "MEDMNIST", "MODELS", "path", "use_folder", "use_models"]


def use_models(encoders: ml_collections.ConfigDict) -> None:
  """Makes an `encoders` section that of the paper's models and baselines."""
  for name in list(encoders):
    del encoders[name]
  for model in MODELS:
    encoders[model] = evaluate.encoder("dino_vits16")
    encoders[model].weights = os.path.join(path("weights"), f"{model}.pth")
  encoders.random = evaluate.encoder(
    "vit_random", size=224, patch=16, dim=384, depth=12, heads=6
  )
