"""Test sets of other images: all classes against the set's own classes.

  python -m experiments.launch --config=configs/shifted_sets.py \\
      --config.cache_dir=work/cache --workdir=work/shifted_sets

By default CIFAR-10 by its pixels, its test images of four animals standing for
a set of fewer classes: a minute on two CPU cores. Table 2 of the paper is

  python -m experiments.launch --config=configs/shifted_sets.py:imagenet \\
      --config.encoder.weights=dinov2_vitl14_pretrain.pth --workdir=work/table2

with, in the working directory: imagenet/{train,val}/SYNSET/NAME.JPEG;
imagenet-a, imagenet-r and sketch with one folder for each synset;
imagenetv2-matched-frequency-format-val with folders 0 to 999; real.json. Or
from TFDS, --config.sets.a.source=tfds --config.sets.a.options.dataset=NAME and
so on (ReaL: label_feature=original_label, and no file of labels). Published
(DINOv2 ViT-L/14, all classes, the best voter and k): A 58.8, R 62.8, Sketch
61.5, V2 75.6, ReaL 87.1 %.
"""

import ml_collections
from ml_collections import config_dict

from configs import cifar10, evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `imagenet` is table 2, `smoke` takes some of the digits."""
  smoke = evaluate.is_smoke(arg, "imagenet")
  config = cifar10.get_config("smoke" if smoke else "")
  config.title = "Test sets of other images"
  config.experiment = "shifted_sets"
  config.sets = ml_collections.ConfigDict()
  if arg == "imagenet":
    return _imagenet(config)
  some = test_set(config.data.source, "names")
  some.options.path = config.data.options.path
  some.options.split = config.data.options.split
  if smoke:
    some.classes = ("1", "7", "8")
    config.sets.slim_digits = some
  else:
    some.classes = ("cat", "deer", "dog", "horse")
    config.sets.animals = some
  return config


def _imagenet(config):
  """ImageNet's memory and its five other test sets."""
  config.title = "Table 2: ImageNet's other test sets"
  config.encoder.name = "dinov2_vitl14"
  config.memory.options.path = config.data.options.path = "imagenet"
  config.data.options.split = "val"
  for name, path, layout in (
    ("a", "imagenet-a", "names"),
    ("r", "imagenet-r", "names"),
    ("sketch", "sketch", "names"),
    ("v2", "imagenetv2-matched-frequency-format-val", "numbers"),
    ("real", "imagenet", "real"),
  ):
    config.sets[name] = test_set("folder", layout)
    config.sets[name].options.path = path
  config.sets.real.options.split = "val"
  config.sets.real.labels = "real.json"
  return config


def test_set(name: str, layout: str) -> ml_collections.ConfigDict:
  """A test set: classes by names, by numbers, or listed as ReaL's are."""
  section = evaluate.source(name)
  section.layout = layout
  section.labels = ""  # real: the file; empty: the TFDS feature real_label.
  section.options.label_feature = config_dict.placeholder(str)
  section.options.unlabeled = config_dict.placeholder(bool)
  return section
