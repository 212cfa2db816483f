"""Build a memory, ask it, add classes, remove one: no download, no training.

  make quickstart

The 1,797 digits bundled with scikit-learn, by the encoder that comes with the
package: it has never seen a photograph, nor a digit. Half a minute on a laptop.
Expected accuracy with all classes: about 98 %.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; it is small enough to be its own `smoke` form."""
  evaluate.is_smoke(arg)  # Or it is no form.
  config = evaluate.get_config("smoke")
  config.experiment = "quickstart"
  config.encoder.name = "procedural_patches"
  config.encoder.options = ml_collections.ConfigDict()
  config.title = "Quickstart: digits in an editable memory"
  config.late_classes = ("8", "9")
  config.removed_class = "3"
  config.voting.voter = "rank"
  config.voting.ks = (1, 5, 10, 20, 50)
  config.voting.k = 10
  config.gallery.right = 8
  config.gallery.wrong = 8
  return config
