"""AdamW as the DINO recipe uses it.

  transform = adamw(settings, params)
  state = transform.init(params)
  updates, state = transform.update(gradients, state, params)

What is particular: the gradient of every tensor is clipped by itself; the
weight decay has a schedule of its own, and is multiplied by the learning rate;
biases and normalizations have none; the prototypes of the head are frozen at
first, and their moments start when they thaw.

Reference: the released code of DINO (clip_gradients, get_params_groups,
cancel_gradients_last_layer); Loshchilov and Hutter, "Decoupled weight decay
regularization", 2019.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from visual_memory.pretraining import schedules

_CLIP_EPS = 1e-6
_PLAIN = ("bias", "scale", "scale1", "scale2")
"""Leaves without weight decay."""
_POSITIONS = ("class_position", "patch_position")
"""Two leaves here, one tensor in the published model: clipped as one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
  """How params are moved.

  Attributes:
    num_steps: length of the schedules.
    warmup_steps: of the learning rate, from zero.
    learning_rate: its peak.
    final_learning_rate: at the end of its cosine.
    weight_decay: at the beginning of its cosine.
    final_weight_decay: at its end.
    beta1: decay of the mean of gradients.
    beta2: decay of the mean of their squares.
    eps: added to the root of the latter.
    clip: the greatest length of one tensor's gradient.
    frozen_steps: steps at the beginning in which the prototypes stay.
  """

  num_steps: int
  warmup_steps: int
  learning_rate: float
  final_learning_rate: float
  weight_decay: float
  final_weight_decay: float
  beta1: float
  beta2: float
  eps: float
  clip: float
  frozen_steps: int


def adamw(settings: OptimizerSettings) -> optax.GradientTransformation:
  """The recipe as one optax transformation."""
  learning_rate = learning_rate_schedule(settings)
  decay = weight_decay_schedule(settings)

  def thawed(step: jax.Array) -> jax.Array:
    return step >= settings.frozen_steps

  def adam() -> optax.GradientTransformation:
    return optax.scale_by_adam(settings.beta1, settings.beta2, settings.eps)

  rate = optax.scale_by_learning_rate(learning_rate)
  groups = {
    "decayed": optax.chain(adam(), optax.add_decayed_weights(decay), rate),
    "plain": optax.chain(adam(), rate),
    "prototypes": optax.chain(
      optax.conditionally_mask(adam(), thawed),
      optax.add_decayed_weights(lambda step: decay(step) * thawed(step)),
      rate,
    ),
  }
  return optax.chain(
    clip_each(settings.clip), optax.partition(groups, group_names)
  )


def learning_rate_schedule(settings: OptimizerSettings) -> schedules.Schedule:
  """The learning rate at each step."""
  return schedules.warmup_cosine(
    settings.learning_rate,
    settings.final_learning_rate,
    num_steps=settings.num_steps,
    warmup_steps=settings.warmup_steps,
  )


def weight_decay_schedule(settings: OptimizerSettings) -> schedules.Schedule:
  """The weight decay at each step."""
  return schedules.cosine(
    settings.weight_decay,
    settings.final_weight_decay,
    num_steps=settings.num_steps,
  )


def group_names(params: Any) -> Any:
  """For each leaf 'decayed', 'plain' or 'prototypes'."""

  def name(path: tuple, _: Any) -> str:
    last = path[-1].key
    if last == "prototypes":
      return "prototypes"
    # Class token and positions are decayed: in the published model they are
    # tensors of more than one axis.
    return "plain" if last in _PLAIN else "decayed"

  return jax.tree_util.tree_map_with_path(name, params)


def clip_each(limit: float) -> optax.GradientTransformation:
  """Scales each tensor's gradient to a length of at most `limit`."""

  def update(gradients: Any, state: Any, params: Any = None) -> tuple:
    del params
    leaves, structure = jax.tree_util.tree_flatten_with_path(gradients)
    squares: dict[str, jax.Array] = {}
    for path, leaf in leaves:
      tensor = _tensor(path)
      squares[tensor] = squares.get(tensor, 0.0) + jnp.sum(jnp.square(leaf))
    factors = {
      tensor: jnp.minimum(1.0, limit / (jnp.sqrt(square) + _CLIP_EPS))
      for tensor, square in squares.items()
    }
    clipped = [leaf * factors[_tensor(path)] for path, leaf in leaves]
    return jax.tree.unflatten(structure, clipped), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _tensor(path: tuple) -> str:
  """The name of the published tensor that a leaf belongs to."""
  parts = tuple(str(getattr(entry, "key", entry)) for entry in path)
  if parts[-1] in _POSITIONS:
    parts = (*parts[:-1], "positions")
  return "/".join(parts)
