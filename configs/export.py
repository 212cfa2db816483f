"""Makes an encoder file of a pretraining run.

  python -m experiments.launch --config=configs/export.py \\
      --config.run=work/pretrain --config.name=procedural_vits16 \\
      --workdir=work/export

Writes NAME.npz (half precision) and NAME.json (the card: settings, data,
seeds, scores, how to reproduce and to continue) into the workdir. Use it with

  load_encoder("procedural", weights="work/export/procedural_vits16.npz")

or put both files into visual_memory/encoders/shipped, and the encoder is
known by its name. Seconds on any machine. The run may go on meanwhile.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` exports a model that was not trained."""
  config = ml_collections.ConfigDict()
  config.experiment = "export"
  config.run = ""  # The workdir of a pretraining.
  config.name = "procedural_vit"
  # Checkpoint: "best" by its score, or "last"; or "untrained": the run's
  # weights before its first step, to compare with.
  config.kind = "best"
  if evaluate.is_smoke(arg):
    config.kind = "untrained"
  return config
