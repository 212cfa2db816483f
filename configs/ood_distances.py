"""Distance as a sign of the unknown: CIFAR-10 against CIFAR-100 and digits.

  python -m experiments.launch --config=configs/ood_distances.py \\
      --workdir=work/ood_distances

Figure 12 of the visual-memory paper, with AUROC, AUPR and FPR95 of the mean,
median and k-th distance. CIFAR-100 has no class of CIFAR-10. Two minutes on
two CPU cores. Expected on pixels: an AUROC near 50 % for CIFAR-100 (pixels know
no objects).

The images are read from under the directory that VISUAL_MEMORY_DATA names.
"""

import os

import ml_collections

from configs import cifar10, evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` asks a memory of five digits about two others."""
  config = cifar10.of(
    "ood_distances", arg, title="Distances inside and outside"
  )
  config.voting.ks = (1, 10, 100)
  root = os.environ.get("VISUAL_MEMORY_DATA", "../shared/data")
  config.outside = ml_collections.ConfigDict()
  config.outside.cifar100 = evaluate.source("folder")
  config.outside.cifar100.options.path = os.path.join(root, "cifar100_half.zip")
  config.outside.cifar100.options.split = "test"
  config.outside.digits = evaluate.source("digits")
  config.outside.digits.options.split = "test"
  if arg == "smoke":
    config.voting.ks = (1, 10)
    config.memory.classes = ("0", "1", "2", "3", "4")
    config.data.classes = ("0", "1", "2", "3", "4")
    config.outside.cifar100.source = ""
    config.outside.digits.classes = ("5", "6")
  return config
