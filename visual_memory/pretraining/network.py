"""Backbone and head as one module, and as pure functions of its params.

params = init(recipe)
logits = project(recipe, params, views, keys=None)   # [V, B, K]
"""

import functools
import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float, Key

from visual_memory.encoders import layers
from visual_memory.encoders.outputs import POOLINGS
from visual_memory.encoders.vit import ViT
from visual_memory.pretraining.heads import DinoHead, ProjectionHead
from visual_memory.pretraining.recipe import Recipe
from visual_memory.pretraining.views import Views
from visual_memory.types import Array

_WEIGHTS = 0x57
"""Folded into the seed's key for the weights."""

_NORMAL = (
  "kernel",
  "class_token",
  "class_position",
  "patch_position",
  "registers",
)
"""Leaves that begin normal."""


class Network(nnx.Module):
  """A vision transformer and the head of an objective."""

  def __init__(self, recipe: Recipe, *, rngs: nnx.Rngs):
    """Random weights."""
    self.backbone = ViT(recipe.backbone, rngs=rngs)
    dim = recipe.backbone.embedding_dim
    if recipe.pooling == "class_and_mean":
      dim += recipe.backbone.dim
    head = recipe.head
    self.head = (
      DinoHead(
        dim,
        hidden=head.hidden,
        bottleneck=head.bottleneck,
        prototypes=head.prototypes,
        rngs=rngs,
      )
      if recipe.objective == "dino"
      else ProjectionHead(
        dim, hidden=head.hidden, out=head.bottleneck, rngs=rngs
      )
    )


def init(recipe: Recipe) -> dict[str, Any]:
  """Random params of a network: a nested dict of float32 arrays.

  The patch embedding is uniform in +-1 / sqrt(values of a patch), as torch's
  convolutions are, and the prototypes as torch's linear layers; all else that
  is random is normal of deviation 0.02 (the published code cuts it at +-2,
  which is a hundred deviations).
  """
  network = Network(recipe, rngs=nnx.Rngs(recipe.seed))
  params = nnx.to_pure_dict(nnx.state(network))
  key = jax.random.fold_in(jax.random.key(recipe.seed), _WEIGHTS)

  def drawn(path: tuple, leaf: jax.Array) -> jax.Array:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    own = jax.random.fold_in(key, zlib.crc32(name.encode()))
    if "patch_embed" in name:
      values = params["backbone"]["patch_embed"]["kernel"].shape[0]
      bound = 1 / math.sqrt(values)
      return jax.random.uniform(own, leaf.shape, minval=-bound, maxval=bound)
    if name.rsplit("/", 1)[-1] in _NORMAL:
      return 0.02 * jax.random.normal(own, leaf.shape)
    return leaf

  return jax.tree_util.tree_map_with_path(drawn, params)


def project(
  recipe: Recipe,
  params: Any,
  views: Views,
  *,
  keys: Key[jax.Array, "B"] | None,
) -> Float[jax.Array, "V B E"]:
  """The head's output for every view, the global ones first.

  The backbone runs once for each size of view, the head once for all. Images
  lead wherever views are laid side by side: images are what is spread over
  devices, and views of one image stay on its device.

  Args:
    recipe: the network and its precision.
    params: of the network.
    views: normalized views.
    keys: of stochastic depth, one for each image; None drops nothing.
  """
  network = nnx.merge(_graph(recipe), params)
  groups = [views.globals]
  if views.locals is not None:
    groups.append(views.locals)
  pooled = []
  for number, group in enumerate(groups):
    count, batch = group.shape[:2]
    images = group.swapaxes(0, 1).reshape(-1, *group.shape[2:])
    scales = None
    if keys is not None and recipe.drop_path:
      scales = branch_scales(
        jax.vmap(jax.random.fold_in, (0, None))(keys, number),
        depth=recipe.backbone.depth,
        count=count,
        rate=recipe.drop_path,
      )
    outputs = network.backbone(
      images,
      precision=recipe.precision,
      branch_scales=scales,
      patches=recipe.pooling != "class",
      remat=recipe.remat,
    )
    rows = POOLINGS[recipe.pooling](outputs)
    pooled.append(rows.reshape(batch, count, -1))
  rows = jnp.concatenate(pooled, axis=1)  # [B, V, D]
  logits = network.head(
    rows.reshape(-1, rows.shape[-1]), precision=recipe.precision
  )
  return logits.reshape(*rows.shape[:2], -1).swapaxes(0, 1)


def branch_scales(
  keys: Key[jax.Array, "B"], *, depth: int, count: int, rate: float
) -> Float[jax.Array, "depth 2 BV"]:
  """Zero for dropped residual branches, 1 / (1 - probability) for others.

  Each branch of each view is dropped by itself; the probability rises linearly
  from zero in the first block to `rate` in the last. What is dropped of an
  image depends on its own key alone.

  Args:
    keys: one for each image.
    depth: blocks.
    count: views of each image; those of one image follow each other.
    rate: in the last block.

  Reference: Huang et al., "Deep networks with stochastic depth", 2016.
  """
  keep = 1 - jnp.linspace(0.0, rate, depth)[:, None, None]
  kept = jax.vmap(
    lambda key: jax.random.bernoulli(key, keep, (depth, 2, count))
  )(keys)  # [B, depth, 2, count]
  kept = jnp.moveaxis(kept, 0, 2).reshape(depth, 2, -1)
  return kept / keep


def moved_average(average: Any, params: Any, momentum: Float[Array, ""]) -> Any:
  """momentum * average + (1 - momentum) * params, leaf by leaf.

  What is the same in both stays what it is, to the bit.
  """
  return jax.tree.map(
    lambda old, new: old + (1 - momentum) * (new - old), average, params
  )


@functools.cache
def _graph(recipe: Recipe) -> nnx.GraphDef:
  """The network's structure, traced once per recipe."""
  return layers.abstract(lambda rngs: Network(recipe, rngs=rngs))[0]
