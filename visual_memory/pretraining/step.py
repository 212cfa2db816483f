"""One training step, compiled for a mesh.

  state = init_state(recipe, mesh)
  step = make_step(recipe, mesh)
  state, metrics = step(state, images, labels, aspects)  # uses up the old state

Params are on every device, the batch is split over them; the partitioner adds
the sums over devices that gradients and center need, and for the contrastive
loss brings every device the projections of all images. A batch that does not
divide over the devices is filled up with images of no weight.
"""

import functools
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.pretraining import losses, network, schedules, views
from visual_memory.pretraining import optimizer as optimizer_lib
from visual_memory.pretraining.recipe import Recipe, checked

State = dict[str, Any]
"""student, teacher: params of networks; optimizer: optax's state; step: int32
number of finished steps; center: DINO's (DINO alone)."""

Metrics = dict[str, jax.Array]

_DROPS = 1 << 16
"""Folded into an image's key for stochastic depth; views fold in their
numbers."""


def init_state(recipe: Recipe, mesh: Mesh) -> State:
  """The state before the first step, on every device of the mesh."""
  return _initializer(checked(recipe), mesh)()


@functools.cache
def _initializer(recipe: Recipe, mesh: Mesh) -> Callable[[], State]:
  return jax.jit(
    functools.partial(_init, recipe),
    out_shardings=distributed.replicated(mesh),
  )


def _init(recipe: Recipe) -> State:
  student = network.init(recipe)
  state = {
    "student": student,
    "teacher": jax.tree.map(jnp.copy, student),
    "optimizer": optimizer_lib.adamw(recipe.optimizer).init(student),
    "step": jnp.zeros((), jnp.int32),
  }
  if recipe.objective == "dino":
    state["center"] = jnp.zeros(recipe.head.prototypes)
  return state


@functools.cache  # A second run of the same recipe compiles nothing.
def make_step(
  recipe: Recipe, mesh: Mesh
) -> Callable[..., tuple[State, Metrics]]:
  """The compiled step: (state, images, labels, aspects) -> (state, metrics).

  images are uint8 [R, H, H, 3], labels int32 [R] and aspects float32 [R], see
  `feeds.FedBatch`, R = num_rows(recipe, mesh), split over the mesh; what
  follows the batch's images counts for nothing.
  """
  checked(recipe)
  everywhere = distributed.replicated(mesh)
  rows = distributed.row_sharding(mesh)
  return jax.jit(
    functools.partial(_step, recipe, mesh),
    in_shardings=(everywhere, rows, rows, rows),
    out_shardings=everywhere,
    donate_argnums=0,
  )


def num_rows(recipe: Recipe, mesh: Mesh) -> int:
  """Rows of a batch on a mesh: whole micro-batches on every device."""
  return distributed.pad_to_multiple(
    recipe.batch_size, recipe.micro_batches * mesh.size
  )


def _step(
  recipe: Recipe,
  mesh: Mesh,
  state: State,
  images: Any,
  labels: Any,
  aspects: Any,
) -> tuple[State, Metrics]:
  """Gradients over the micro-batches, then one update of everything."""
  step, count = state["step"], recipe.micro_batches
  key = jax.random.fold_in(named_key(recipe.seed, "step"), step)
  numbers = jnp.arange(len(images), dtype=jnp.int32)
  # Rows of a micro-batch are strided, so that each device keeps its own.
  parts = [
    x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1)
    for x in (images, labels, aspects, numbers)
  ]
  parts = [
    jax.lax.with_sharding_constraint(
      x,
      jax.NamedSharding(mesh, jax.P(None, distributed.DATA)),
    )
    for x in parts
  ]

  compute = functools.partial(_gradients, recipe, len(images), state, key)
  if count == 1:
    return _updated(recipe, state, *compute(*(x[0] for x in parts)))

  def add(total: Any, part: Any) -> tuple[Any, None]:
    return jax.tree.map(jnp.add, total, compute(*part)), None

  shapes = jax.eval_shape(compute, *(x[0] for x in parts))
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  total, _ = jax.lax.scan(add, zeros, tuple(parts))
  return _updated(recipe, state, *jax.tree.map(lambda x: x / count, total))


def _gradients(
  recipe: Recipe,
  mesh_rows: int,
  state: State,
  key: Any,
  images: Any,
  labels: Any,
  aspects: Any,
  rows: Any,
) -> tuple[Any, dict[str, Any]]:
  """Gradients and metrics of one micro-batch."""
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
  seen = views.make_views(keys, images, recipe.views, aspects=aspects)
  drop_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, _DROPS)
  weights = None
  if mesh_rows != recipe.batch_size:
    # Every micro-batch has as many of the batch's images as every other.
    share = recipe.micro_batches / recipe.batch_size
    weights = jnp.where(rows < recipe.batch_size, share, 0.0)
  loss = _dino if recipe.objective == "dino" else _contrastive
  compute = functools.partial(
    loss, recipe, state, seen, labels, drop_keys, weights
  )
  gradients, metrics = jax.grad(compute, has_aux=True)(state["student"])
  return gradients, metrics


def _dino(recipe, state, seen, labels, keys, weights, student) -> tuple:
  """DINO's loss of the student's params, and what to log."""
  del labels
  teacher = recipe.teacher
  temperature = schedules.warmup_linear(
    teacher.first_temperature,
    teacher.temperature,
    warmup_steps=teacher.temperature_steps,
  )(state["step"])
  wide = views.Views(globals=seen.globals, locals=None)
  targets = network.project(recipe, state["teacher"], wide, keys=None)
  targets = jax.lax.stop_gradient(targets)
  logits = network.project(recipe, student, seen, keys=keys)
  loss = losses.dino_loss(
    logits,
    targets,
    state["center"],
    student_temperature=recipe.temperature,
    teacher_temperature=temperature,
    weights=weights,
  )
  mean = functools.partial(losses.mean_images, weights=weights)
  said = losses.teacher_probabilities(targets, state["center"], temperature)
  return loss, {
    "loss": loss,
    "batch_mean": mean(targets),
    # Collapse shows: all alike, batch_entropy falls to teacher_entropy; all
    # undecided, teacher_entropy rises to log(K).
    "teacher_entropy": mean(losses.entropy(said)),
    "mean_probabilities": mean(said),
  }


def _contrastive(recipe, state, seen, labels, keys, weights, student) -> tuple:
  """The contrastive loss of the student's params, and what to log."""
  del state
  rows = network.project(recipe, student, seen, keys=keys)
  loss = losses.contrastive_loss(
    rows, labels, temperature=recipe.temperature, weights=weights
  )
  mean = losses.mean_images(rows, weights)
  # The mean similarity of two views of any images: 1 after a collapse.
  return loss, {"loss": loss, "mean_similarity": jnp.sum(mean * mean)}


def _updated(
  recipe: Recipe, state: State, gradients: Any, metrics: dict[str, Any]
) -> tuple[State, Metrics]:
  """The state after a step: center, student, then teacher."""
  step = state["step"]
  new = {"step": step + 1}
  teacher = recipe.teacher
  if recipe.objective == "dino":
    new["center"] = losses.moved_center(
      state["center"],
      metrics.pop("batch_mean"),
      momentum=teacher.center_momentum,
    )
    metrics["batch_entropy"] = losses.entropy(metrics.pop("mean_probabilities"))
  updates, new["optimizer"] = optimizer_lib.adamw(recipe.optimizer).update(
    gradients, state["optimizer"], state["student"]
  )
  new["student"] = optax.apply_updates(state["student"], updates)
  momentum = schedules.cosine(
    teacher.momentum,
    teacher.final_momentum,
    num_steps=recipe.optimizer.num_steps,
  )(step)
  new["teacher"] = network.moved_average(
    state["teacher"], new["student"], momentum
  )
  metrics |= {
    "gradient_norm": optax.tree.norm(gradients),
    "learning_rate": optimizer_lib.learning_rate_schedule(recipe.optimizer)(
      step
    ),
    "weight_decay": optimizer_lib.weight_decay_schedule(recipe.optimizer)(step),
    "momentum": momentum,
  }
  return new, metrics


def named_key(seed: int, name: str) -> jax.Array:
  """A typed key by seed and name."""
  return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
