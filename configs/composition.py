"""Two objects in one image, found one after the other by residual queries.

  python -m experiments.launch --config=configs/composition.py \\
      --config.cache_dir=work/cache --workdir=work/composition

Appendix O of the visual-memory paper, made measurable: pairs of test images
side by side. By default CIFAR-10 by its pixels; a minute on two CPU cores.
One's own pictures of several objects, in folders that say what is in them
(cat+dog) or anything else (then they are shown, and not counted):

      --config.pictures.source=folder --config.pictures.options.path=DIR

The paper shows examples only. Measured on pixels, of 1,000 pairs: both classes
are found for 4.6 % by plain search, 3.2 % by the difference, 4.8 % by the
projection: nothing is gained there. experiments/results/composition.json.
"""

import ml_collections

from configs import cifar10, evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` composes a few of the bundled digits."""
  config = cifar10.of("composition", arg, title="Compositionality")
  config.voting.ks = (1, 10)

  config.composition = ml_collections.ConfigDict()
  config.composition.pairs = 1000
  config.composition.retrieved = 10
  config.composition.shown = 8

  config.pictures = evaluate.source("")

  if arg == "smoke":
    config.composition.pairs = 20
    config.composition.shown = 1
  return config
