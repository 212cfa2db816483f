"""Encoders learned from different pictures at equal cost, in one table.

  python -m experiments.launch --config=configs/comparison.py \\
      --config.cache_dir=work/cache --workdir=work/comparison

Each learned encoder is a dictionary of patches by exactly the settings of
configs/dictionary.py: as many pictures, patches, words and rounds; only the
family of pictures differs. `random` has learned nothing (random words, no
whitening); in `random_words` the words are random, but how patches and
responses are whitened comes from the shader pictures. Beside them raw pixels,
pixels averaged to 8 x 8, and encoder files of your own, not at equal cost:

      --config.encoders.own.weights=FILE.npz

CIFAR-10 (50,000 rows, 10,000 queries) and the bundled digits. Half an hour on
two CPU cores: a dictionary takes 40 seconds to learn and two minutes to embed
with, mixed pictures up to two to render (`left_out` names encoders to do
without). Expected on CIFAR-10: shaders 69.7, nothing learned 49.1, pixels
44.8 %. A stopped run goes on with what is not done. The procedural-data paper
(table 1, ImageNet, ViT-S/16 by DINO): KML Mixup 37.9, Shaders Mixup 35.5, KML
35.4, shaders 30.7, random 1.8 %.

The form `shipped` asks what the shipped encoders are worth, as they are and
whitened on the memory's rows, beside a random start of the transformer: on
CIFAR-10, the digits, CIFAR-100's half (25,000 rows, 5,000 queries), windows of
CamVid's street scenes (64 pixels, of the class of more than half of them), and
crops of 200 photographs (ten of each, 10 to 50 % of its area), of which the
nearest row must be the whole photograph. Two hours on two CPU cores:

  python -m experiments.launch --config=configs/comparison.py:shipped \\
      --config.cache_dir=work/cache --workdir=work/shipped
"""

import ml_collections

from configs import cifar10, dictionary, evaluate, hierarchy

FAMILIES = (
  "shaders",
  "mixup",
  "shaders_mixup",
  "kml",
  "kml_mixup",
  "dead_leaves",
  "fractal_noise",
  "iterated_functions",
)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config, or `shipped`; `smoke`: tiny dictionaries on the digits."""
  config = cifar10.of(
    "comparison", "" if arg == "shipped" else arg,
    title="Encoders compared: what the pictures are worth",
  )  # fmt: skip
  config.baseline = "shaders"

  config.tasks = ml_collections.ConfigDict()
  if arg != "smoke":
    config.tasks.cifar10 = _task(config.memory, config.data)
  config.tasks.digits = _task(*map(_digits, ("train", "test")))
  for name in ("encoder", "memory", "data"):
    del config[name]

  config.recipe = dictionary.get_config("" if arg == "shipped" else arg)
  config.learned = ml_collections.ConfigDict()
  for family in FAMILIES:
    config.learned[family] = learned(family)
  config.learned.random_words = learned("shaders", learn="whitening")
  config.learned.random = learned("", learn="nothing")
  config.learned_encoder = evaluate.encoder("procedural")  # And its file.

  config.encoders = ml_collections.ConfigDict()
  config.encoders.pixels = evaluate.encoder("pixels", size=32)
  config.encoders.pixels_8 = evaluate.encoder("pixels", size=8)
  config.encoders.vit = evaluate.encoder("procedural")  # If it has weights.
  config.encoders.vit_untrained = evaluate.encoder("procedural")
  config.encoders.own = evaluate.encoder("procedural")

  config.whitened = ()  # Ridges, by each of which encoders are whitened, too.
  config.left_out = ()  # Names of encoders that are not compared this time.
  config.notes = (
    "random: nothing is learned, words and projection are random; random"
    " words: the words alone are random, how patches and responses are"
    " whitened is learned from the shader pictures.",
    "pixels 8: averaged down to 8 x 8.",
  )
  # Encoders of growing size, by what they are: curves of accuracy.
  config.series = ml_collections.ConfigDict()
  if arg == "shipped":
    _shipped(config)
  if arg == "smoke":
    config.baseline = "fractal_noise"
    for name in FAMILIES:
      if name != config.baseline:
        del config.learned[name]
    config.learned.random_words.family = config.baseline
    del config.encoders.pixels
  return config


def _shipped(config: ml_collections.ConfigDict) -> None:
  """Nothing is learned: what others may use, on one task more."""
  config.title = "The shipped encoders"
  config.baseline = "procedural_patches"
  config.learned = ml_collections.ConfigDict()
  config.encoders = ml_collections.ConfigDict()
  for name in ("procedural_patches", "procedural_vit"):
    config.encoders[name] = evaluate.encoder(name)
  config.encoders.vit_random = evaluate.encoder(
    "vit_random", size=64, patch=8, depth=9, stem=(48, 96, 192),
    pooling="class_and_mean",
  )  # fmt: skip
  config.encoders.pixels_8 = evaluate.encoder("pixels", size=8)
  config.whitened = (1.0,)
  halves = hierarchy.get_config()
  config.tasks.cifar100 = _task(halves.memory, halves.data)
  config.tasks.windows = _task(*map(_windows, ("train", "test")))
  config.tasks.crops = _task(*map(_crops, (0, 10)))
  config.notes = (
    "vit_random: the transformer of procedural_vit at a random start.",
    "pixels 8: averaged down to 8 x 8.",
    "crops: a photograph is a class of one row, so that nothing can be tuned:"
    " the nearest row answers.",
  )


def _windows(split: str) -> ml_collections.ConfigDict:
  section = evaluate.source("windows")
  section.options.of, section.options.split = "camvid", split
  section.options.path = cifar10.archive("camvid_180.zip")
  return section


def _crops(per_image: int) -> ml_collections.ConfigDict:
  section = evaluate.source("crops")
  section.options.of, section.options.unlabeled = "folder", True
  section.options.path = cifar10.archive("imagenet_sample_200.zip")
  section.options.per_image = per_image
  return section


def learned(
  family: str, *, learn: str = "all", num_words: int = 0, dim: int = 0
) -> ml_collections.ConfigDict:
  """A dictionary by the recipe but for these; 0: as the recipe says."""
  entry = ml_collections.ConfigDict()
  entry.family = family
  entry.learn = learn
  entry.num_words = num_words
  entry.dim = dim
  return entry


def _task(memory, data) -> ml_collections.ConfigDict:
  """What to remember, and what to ask."""
  task = ml_collections.ConfigDict()
  task.memory, task.data = memory, data
  return task


def _digits(split: str) -> ml_collections.ConfigDict:
  section = evaluate.source("digits")
  section.options.split = split
  return section
