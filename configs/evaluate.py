"""A memory of your own images, evaluated and explained.

  python -m experiments.launch --config=configs/evaluate.py \\
      --config.memory.options.path=photos.zip --workdir=work/photos

`photos.zip` (or a folder) has one directory of images for each class; with
`train` and `test` directories above them, name the splits:

      --config.memory.options.split=train \\
      --config.data.source=folder --config.data.options.path=photos.zip \\
      --config.data.options.split=test

Without `data`, each image of the memory is classified by the others. Minutes
for some ten thousand images on a laptop; what to expect depends on the images.
"""

import ml_collections
from ml_collections import config_dict


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` evaluates a part of the bundled digits."""
  config = ml_collections.ConfigDict()
  config.experiment = "evaluate"
  config.title = "Evaluation"
  config.seed = 0  # Of the tuning split.
  config.cache_dir = ""  # Embeddings and neighbors; by default the workdir's.

  config.encoder = encoder("pixels")

  config.memory = source("folder")
  config.data = source("")

  config.embed = ml_collections.ConfigDict()
  config.embed.batch_size = config_dict.placeholder(int)  # Per device.
  config.embed.num_workers = config_dict.placeholder(int)
  config.embed.resize_on = "auto"  # Or host, device: the same embeddings.

  # Neighbor files instead of images and an encoder: .npz or published .json.
  config.neighbors = ml_collections.ConfigDict()
  config.neighbors.queries = ""
  config.neighbors.rows = ""  # Of the memory's rows, for tuning and pruning.

  config.retrieval = ml_collections.ConfigDict()
  config.retrieval.backend = "exact"  # Or scann: approximate, recall reported.
  config.retrieval.num_audited = 64  # Queries that measure scann's recall.
  config.retrieval.precision = "auto"  # Of the first pass; answers agree.
  # A ridge (1.0) to whiten rows and queries on the memory's rows.
  config.retrieval.whitening = config_dict.placeholder(float)

  config.voting = ml_collections.ConfigDict()
  # One's own, too: "module:function", from similarities [Q, k] to weights.
  config.voting.voters = ("plurality", "distance", "softmax", "rank")
  config.voting.ks = (1, 2, 3, 5, 10, 20, 50, 100)
  config.voting.exponent = 1.0  # distance: exp(-exponent * distance)
  config.voting.temperature = 0.07  # softmax
  config.voting.offset = 2.0  # rank: 1 / (offset + rank)
  config.voting.voter = ""  # To quote; empty: chosen on tuning rows.
  config.voting.k = 0
  config.voting.tune_fraction = 0.1  # Of the memory's rows.

  config.gallery = ml_collections.ConfigDict()
  config.gallery.right = 12
  config.gallery.wrong = 24

  if is_smoke(arg):
    config.memory.source = config.data.source = "digits"
    config.memory.options.split = "train"
    config.data.options.split = "test"
    config.encoder.options.size = 8
    config.voting.ks = (1, 10)
    config.gallery.right = config.gallery.wrong = 2
  return config


def is_smoke(arg: str, *others: str) -> bool:
  """Whether a small form is meant; ValueError if there is no such form."""
  if arg not in ("", "smoke", *others):
    forms = " or ".join(("smoke", *others))
    raise ValueError(f"Unknown form {arg!r}: leave it out, or say {forms}.")
  return arg == "smoke"


def standing_in(title: str, config: ml_collections.ConfigDict) -> str:
  """The title of a config that stands in for a paper's own: on what it runs."""
  of = config.get("photographs") or config.get("memory")
  parts = [of] if of else [task.memory for task in config.tasks.values()]
  names = [
    (each.options.get("path") or each.source).rpartition("/")[2]
    for each in parts
  ]
  on = ", ".join(name.removesuffix(".zip") for name in names)
  alone = "encoder" in config and not config.get("encoders")
  by = f" by {config.encoder.name}" if alone else ""
  return f"{title} (here: {on}{by})"


def source(name: str) -> ml_collections.ConfigDict:
  """A data source: its name, options (None: not given), classes (all)."""
  section = ml_collections.ConfigDict()
  section.source = name
  section.classes = ()
  section.class_names = ""  # What classes are called: a file, "imagenet_1k".
  section.sample = 0  # Images that are drawn by their ids; 0: all.
  section.options = ml_collections.ConfigDict()
  section.options.path = config_dict.placeholder(str)
  section.options.split = config_dict.placeholder(str)
  section.options.dataset = config_dict.placeholder(str)
  section.options.data_dir = config_dict.placeholder(str)
  return section


def encoder(name: str, **options) -> ml_collections.ConfigDict:
  """An encoder: its name, what all may be given, and options of its own."""
  section = ml_collections.ConfigDict()
  section.name = name
  section.weights = config_dict.placeholder(str)
  section.precision = "float32"
  section.preprocess = config_dict.placeholder(str)
  section.image_size = config_dict.placeholder(int)
  section.options = ml_collections.ConfigDict(options)
  return section
