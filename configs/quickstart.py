"""Build a memory, ask it, add classes, remove one: no download, no training.

  make quickstart

The 1,797 digits bundled with scikit-learn, raw 8 x 8 pixels. A few seconds on
a laptop. Expected accuracy with all classes: about 98 %.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; it is small enough to be its own `smoke` form."""
  config = evaluate.get_config("smoke")
  if arg not in ("", "smoke"):
    raise ValueError(f"The only other form of this config is smoke, not {arg}.")
  config.experiment = "quickstart"
  config.title = "Quickstart: digits in an editable memory"
  config.late_classes = ("8", "9")
  config.removed_class = "3"
  config.voting.voter = "rank"
  config.voting.ks = (1, 5, 10, 20, 50)
  config.voting.k = 10
  config.gallery.right = 8
  config.gallery.wrong = 8
  return config
