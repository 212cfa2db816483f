"""Small published files: what is in them, and how they are read."""

import jax
import numpy as np
import published_layouts
from golden import make_encoder_goldens as goldens

from visual_memory.encoders import vit
from visual_memory.encoders.families import clip, dino
from visual_memory.encoders.published import convert
from visual_memory.encoders.published import params as params_lib

TINY = goldens.TINY
_TEXT = goldens.TINY_TEXT


def hub_tensors(family="dinov2"):
  layout = published_layouts.hub(TINY[family])
  return published_layouts.random_tensors(layout, seed=3)


def random_file(template, naming, *, seed=0):
  """Random tensors of a file of this naming that holds these params."""
  random = np.random.default_rng(seed)
  leaves, tensors = convert._leaves(template), {}
  table = leaves.get("patch_position", (0, 0))
  for leaf, shape in leaves.items():
    source = convert._source(leaf, naming)
    shapes = convert._expected(source, shape, table, [])
    for name, expected in zip(source.tensors, shapes, strict=True):
      tensors[name] = random.standard_normal(expected, np.float32)
  return tensors


def clip_tensors():
  """As published: products in float16, the rest in float32, three integers."""
  layout = published_layouts.openai_clip(TINY["clip"], _TEXT)
  tensors = published_layouts.random_tensors(layout, seed=3)
  for name, value in tensors.items():
    if name in ("input_resolution", "context_length", "vocab_size"):
      tensors[name] = np.asarray(7, np.int64)
    elif ".ln_" not in name and "embedding" not in name and value.ndim:
      tensors[name] = value.astype(np.float16)
  return tensors


def load_tiny(path, family="dinov2"):
  is_clip = family == "clip"
  return params_lib.load_tower(
    path,
    template=vit.shapes(TINY[family]),
    namings=clip.IMAGE if is_clip else dino.IMAGE,
    others=clip.TEXT if is_clip else (),
  ).params


def assert_equal_trees(mine, its):
  assert jax.tree.structure(mine) == jax.tree.structure(its)
  for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(its), strict=True):
    np.testing.assert_array_equal(a, b, strict=True)
