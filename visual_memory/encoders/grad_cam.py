"""Where a decision looks: gradient-weighted class activation for ViTs.

  maps = grad_cam(params, config, pixels, readout=lambda out: out.embedding @ w)

Reference: Selvaraju et al., ICCV 2017; procedural-data paper, Fig. 17 (layer
unpublished). For a ViT, as usual: the output of the last block's first norm,
class token and registers left out.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32

from visual_memory.encoders import vit
from visual_memory.encoders.outputs import ViTOutputs
from visual_memory.encoders.patch_grid import patch_grid
from visual_memory.encoders.settings import ViTConfig
from visual_memory.types import Array


def grad_cam(
  params: dict,
  config: ViTConfig,
  pixels: Float[Array, "B S S 3"],
  *,
  readout: Callable[[ViTOutputs], jax.Array],
) -> Float32[jax.Array, "B h w"]:
  """What speaks for a score, patch by patch, each map scaled to [0, 1].

  relu(sum over channels of activation * mean gradient), less its minimum and
  over its maximum; all zero where nothing speaks for the score.

  Args:
    params: of the vision transformer.
    config: its settings.
    pixels: preprocessed images.
    readout: a score for each image, [B], from what the model says: a class's
      logit, the similarity with a row of the memory.
  """

  params = jax.device_put(params)

  def score(shift: jax.Array) -> tuple[jax.Array, jax.Array]:
    model = vit.module(params, config)
    norm, seen = model.blocks[-1].norm1, []

    def shifted(tokens: jax.Array) -> jax.Array:
      seen.append(norm(tokens) + shift)
      return seen[-1]

    model.blocks[-1].norm1 = shifted
    return jnp.sum(readout(model(pixels))), seen[0]

  first_patch = 1 + config.num_registers
  rows, columns = patch_grid(pixels.shape[1:3], config.patch_size)
  tokens = first_patch + rows * columns
  zeros = jnp.zeros((len(pixels), tokens, config.dim), jnp.float32)
  gradients, activations = jax.grad(score, has_aux=True)(zeros)
  gradients, activations = (
    values[:, first_patch:] for values in (gradients, activations)
  )
  weights = jnp.mean(gradients, axis=1, keepdims=True)  # [B, 1, D]
  maps = jax.nn.relu(jnp.sum(weights * activations, axis=-1))
  maps = maps - jnp.min(maps, axis=1, keepdims=True)
  highest = jnp.max(maps, axis=1, keepdims=True)
  maps = maps / jnp.where(highest > 0, highest, 1)
  return maps.reshape(-1, rows, columns)
