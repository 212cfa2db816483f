"""A memory that grows by rows without labels, on CIFAR-10.

  python -m experiments.launch --config=configs/unlabeled_growth.py \\
      --config.cache_dir=work/cache --workdir=work/unlabeled_growth

Section 3.3 of the visual-memory paper in small: a tenth of the rows keep their
labels and vote on the others; rows for which the vote does not agree are
dropped. Beside it the labelled rows alone, and the ceiling: the true labels of
all. Queries of other pictures are asked too:

      --config.sets.other.source=folder --config.sets.other.options.path=DIR

Some minutes on two CPU cores by the encoder that comes with the package.
Published for billions of rows labelled by another model, as curves only.
"""

import ml_collections

from configs import cifar10, shifted_sets


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` grows a memory of digits."""
  config = cifar10.of(
    "unlabeled_growth",
    arg,
    title="Growing by rows without labels",
    shipped=True,
  )
  config.unlabeled = ml_collections.ConfigDict()
  config.unlabeled.labeled_fraction = 0.1
  config.unlabeled.agreements = (0.0, 0.5, 0.8, 0.95)
  config.sets = ml_collections.ConfigDict()
  config.sets.other = shifted_sets.test_set("", "names")  # None.
  if arg == "smoke":
    config.unlabeled.agreements = (0.0, 0.9)
    config.sets.other = shifted_sets.test_set("digits", "names")
    config.sets.other.options.split = "test"
    config.sets.other.classes = ("1", "7")
  return config
