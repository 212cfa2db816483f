"""DINO pretraining on procedural pictures: no real image is ever seen.

  python -m experiments.launch --config=configs/pretrain.py \\
      --workdir=work/pretrain

The published recipe: ViT-S/16 at 224 pixels, 65,536 prototypes, 2 global and 8
local views, batch 512, 100 passes over 1.3 million pictures (253,900 steps).
Published accuracy of a softmax-weighted vote on ImageNet: 30.7 % for raw
shaders, 35.4 % for KML, 37.9 % for KML Mixup (Rodriguez-Munoz et al. 2025,
table 1); the pictures here are other ones, and no full run of it has been made.

Measured on one H200 in bfloat16 for six minutes, from a pool (:kml_mixup):
1,623 pictures/s, 17 % of its peak, 1 % of the time waiting for pictures. On one
H100, before attention was fused in training: 1,083, 12.5 %; with every picture
drawn anew at 256 pixels 193 a second, 82 % of the time for drawing: take a pool
there. By the H100's rates 4.2 hours on 8 H100, and by the same share of their
peak 10 hours on 16 chips of v5e; `visual_memory.pretraining.cost` plans other
recipes. Params, their average, moments and gradients take 0.9 GB of a device.

A stopped run continues with the same command, on any number of devices; `every`
may be changed on the way. Forms, which a comma joins:

  :shaders :kml :mixup :kml_mixup :shaders_mixup
          the rows of the published table 1, mixed from a pool of shaders
  :folder pictures of your own: --config.data.options.path=photos.zip
  :vit    the transformer that comes with the package: ViT-Ti of 9 blocks at 64
          pixels, contrastive, 6,400 steps of 1,024 mixtures: 7 minutes of an
          H100 at 17,100 pictures/s, behind 2 minutes for the pool
  :cpu    a small ViT at 32 pixels with the contrastive objective
  :smoke  a few steps of a tiny model

Any image source can take the place of the programs:

      --config.data.source=folder --config.data.options.path=photos.zip

`evaluation` names labelled images (tuning rows, never test data) whose
leave-one-out accuracy is logged and chooses the best checkpoint.
"""

import os

import ml_collections
from ml_collections import config_dict


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The published recipe, or the form that arg names."""
  config = ml_collections.ConfigDict()
  config.experiment = "pretrain"
  config.title = "Pretraining on procedural pictures"
  config.seed = 0
  config.objective = "dino"  # Or "contrastive".
  config.batch_size = 512  # Over all devices.
  config.micro_batches = 1
  config.precision = "bfloat16"
  config.remat = False
  config.temperature = 0.1  # Of the student.
  config.tensorboard = True

  config.backbone = ml_collections.ConfigDict()
  config.backbone.name = "vit_s"
  config.backbone.image_size = 224
  config.backbone.patch_size = 16
  config.backbone.changes = ml_collections.ConfigDict()
  config.backbone.pooling = "class"
  config.backbone.drop_path = 0.1

  config.head = ml_collections.ConfigDict()
  config.head.hidden = 2048
  config.head.bottleneck = 256
  config.head.prototypes = 65_536

  config.views = ml_collections.ConfigDict()
  config.views.global_size = 224
  config.views.local_size = 96
  config.views.num_local = 8
  config.views.global_scale = (0.4, 1.0)
  config.views.local_scale = (0.05, 0.4)
  config.views.flip = 0.5
  config.views.jitter = 0.8
  config.views.strengths = (0.4, 0.4, 0.2, 0.1)
  config.views.gray = 0.2
  config.views.blur = (1.0, 0.1, 0.5)
  config.views.blur_radius = (0.1, 2.0)
  config.views.solarize = 0.2

  config.optimizer = ml_collections.ConfigDict()
  config.optimizer.num_steps = 253_900
  config.optimizer.warmup_steps = 25_390  # 10 passes
  config.optimizer.learning_rate = 1e-3  # 5e-4 * batch_size / 256
  config.optimizer.final_learning_rate = 1e-6
  config.optimizer.weight_decay = 0.04
  config.optimizer.final_weight_decay = 0.4
  config.optimizer.beta1 = 0.9
  config.optimizer.beta2 = 0.999
  config.optimizer.eps = 1e-8
  config.optimizer.clip = 3.0
  config.optimizer.frozen_steps = 2_539  # 1 pass

  config.teacher = ml_collections.ConfigDict()
  config.teacher.momentum = 0.996
  config.teacher.final_momentum = 1.0
  config.teacher.temperature = 0.04
  config.teacher.first_temperature = 0.04
  config.teacher.temperature_steps = 0
  config.teacher.center_momentum = 0.9

  config.data = ml_collections.ConfigDict()
  # Or "pool", "mixed" (mixtures of a pool of shaders, new at every step; all
  # of it on every device), or a key of `open_source`.
  config.data.source = "procedural"
  config.data.size = 256  # Side of the pictures that views are cropped from.
  config.data.group = 1  # Pictures of one class together in a batch.
  config.data.num_programs = 1_300_000
  config.data.per_program = 1  # Of a pool.
  config.data.procedural = ml_collections.ConfigDict()  # To sample_images:
  config.data.procedural.family = "shaders"  # Or "kml", "kml_mixup", ...
  config.data.classes = ()
  config.data.class_names, config.data.sample = "", 0
  config.data.options = _options()

  config.evaluation = ml_collections.ConfigDict()
  config.evaluation.source = ""
  config.evaluation.classes = ()
  config.evaluation.class_names, config.evaluation.sample = "", 0
  config.evaluation.options = _options()
  config.evaluation.num_images = 5_000
  config.evaluation.ks = (10, 20)

  # An encoder file whose transformer the run begins with; "" begins anew.
  config.init_from = ""

  config.every = ml_collections.ConfigDict()
  config.every.log = 50
  config.every.save = 1_000
  config.every.evaluate = 5_000
  for form in filter(None, arg.split(",")):
    _apply(config, form)
  return config


MIXTURES = ("shaders", "kml", "mixup", "kml_mixup", "shaders_mixup")
"""Rows of the published table 1 that are made of shaders."""


def _apply(config: ml_collections.ConfigDict, form: str) -> None:
  """Changes the config to a form.

  Raises:
    ValueError: no such form; it names those there are.
  """
  forms = {"smoke": _smoke, "cpu": _cpu, "vit": _vit, "folder": _folder}
  if form in MIXTURES:
    config.title = f"Pretraining on procedural pictures: {form}"
    config.data.source = "mixed"
    config.data.procedural.family = form
  elif form in forms:
    forms[form](config)
  else:
    raise ValueError(
      f"The forms of this config are {', '.join((*MIXTURES, *forms))}, not"
      f" {form}."
    )


def _folder(config: ml_collections.ConfigDict) -> None:
  """Pictures of one's own."""
  config.title = "Pretraining on a folder"
  config.data.source = "folder"
  config.data.size = 384  # Small crops of large pictures keep their detail.


def _vit(config: ml_collections.ConfigDict) -> None:
  """What the transformer in the encoder `procedural_vit` was made by."""
  _cpu(config)
  _apply(config, "kml")
  config.batch_size = 1_024
  config.precision = "bfloat16"
  config.optimizer.num_steps = 6_400
  config.temperature = 0.15
  config.backbone.image_size = 64
  config.backbone.changes.depth = 9
  config.backbone.changes.stem = (48, 96, 192)
  config.head.hidden = 1_024
  config.head.prototypes = 4_096
  config.views.global_size = 64
  config.views.local_size = 32
  config.optimizer.warmup_steps = 500
  config.optimizer.frozen_steps = 64
  config.teacher.final_momentum = 0.9995
  config.data.size = 96
  config.data.num_programs = 282_624
  config.data.group = 1
  config.every.log = 160
  config.every.save = 800
  config.every.evaluate = 800


def _options() -> ml_collections.ConfigDict:
  """Options of a source; None: not given."""
  options = ml_collections.ConfigDict()
  options.path = config_dict.placeholder(str)
  options.split = config_dict.placeholder(str)
  options.dataset = config_dict.placeholder(str)
  options.data_dir = config_dict.placeholder(str)
  return options


def _cpu(config: ml_collections.ConfigDict) -> None:
  """A small ViT behind a convolutional stem, at 32 pixels."""
  config.title = "Pretraining of a small vision transformer"
  config.objective = "contrastive"
  config.batch_size = 128
  config.precision = "float32"
  config.optimizer.num_steps = 20_000
  config.temperature = 0.2
  config.backbone.name = "vit_ti"
  config.backbone.image_size = 32
  config.backbone.patch_size = 8
  config.backbone.changes.depth = 6
  config.backbone.changes.stem = (64, 128, 256)
  config.backbone.pooling = "class_and_mean"
  config.backbone.drop_path = 0.0
  config.head.hidden = 512
  config.head.bottleneck = 128
  config.head.prototypes = 2_048
  config.views.global_size = 32
  config.views.local_size = 16
  config.views.num_local = 0
  config.views.global_scale = (0.2, 1.0)
  config.views.strengths = (0.4, 0.4, 0.4, 0.1)
  config.views.blur = (0.0, 0.0, 0.0)
  config.views.solarize = 0.0
  config.optimizer.warmup_steps = 100
  config.optimizer.learning_rate = 1e-3
  config.optimizer.weight_decay = 0.05
  config.optimizer.final_weight_decay = 0.05
  config.optimizer.frozen_steps = 20
  config.teacher.momentum = 0.99
  config.teacher.final_momentum = 0.999
  config.data.source = "pool"
  config.data.size = 48
  config.data.num_programs = 20_000
  config.data.per_program = 4
  config.data.group = 2
  config.evaluation.source = "folder"
  config.evaluation.options.path = os.path.join(
    os.environ.get("VISUAL_MEMORY_DATA", "../shared/data"), "cifar10.zip"
  )
  config.evaluation.options.split = "train"
  config.every.log = 20
  config.every.save = 200
  config.every.evaluate = 400


def _smoke(config: ml_collections.ConfigDict) -> None:
  """A few steps of a tiny model on the bundled digits, scored on others."""
  config.batch_size = 16
  config.precision = "float32"
  config.optimizer.num_steps = 4
  config.tensorboard = False
  config.backbone.name = "vit_ti"
  config.backbone.image_size = 16
  config.backbone.patch_size = 8
  config.backbone.changes.dim = 24
  config.backbone.changes.mlp_dim = 48
  config.backbone.changes.depth = 1
  config.head.hidden = 32
  config.head.bottleneck = 16
  config.head.prototypes = 64
  config.views.global_size = 16
  config.views.local_size = 8
  config.views.num_local = 1
  config.optimizer.warmup_steps = 1
  config.optimizer.frozen_steps = 1
  config.data.source = "digits"
  config.data.size = 16
  config.data.options.split = "train"
  config.evaluation.source = "digits"
  config.evaluation.options.split = "test"
  config.evaluation.num_images = 100
  config.every.log = 2
  config.every.save = 2
  config.every.evaluate = 4
