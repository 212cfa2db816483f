"""Training the projections of a dual memory network on its shots.

  projection = train(
    projection, queries, labels, static=rows, text=classifier,
    settings=TrainSettings(learning_rate=1e-4, epochs=20), key=jax.random.key(0)
  )

The loss is cross-entropy of the static memory's logits plus that of the text
classifier's. The encoder is frozen: every epoch has another augmented crop of
each shot, embedded beforehand. The dynamic memory takes no part, and is read
with the same projection afterwards.

Reference: Zhang et al., "Dual Memory Networks" (CVPR 2024), section 3.4;
dmn_main.py of the released code: AdamW, decay 1e-4 on biases too, batch 128,
cosine to 1e-7 in steps, no warm-up.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float, Float32, Int

from visual_memory.dual_memory.reading import Projection, read
from visual_memory.dual_memory.streams import ClassRows
from visual_memory.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
  """How to train.

  Attributes:
    learning_rate: at the start.
    epochs: times that every shot is seen.
    batch_size: queries of a step; fewer if there are fewer shots.
    weight_decay: AdamW's.
    final_learning_rate: at the end.
    sharpness: beta of the reading.
    inverse_temperature: tau of both parts.
    exclude_self: hide a shot's own row from its augmented crop; published: no.
  """

  learning_rate: float
  epochs: int
  batch_size: int = 128
  weight_decay: float = 1e-4
  final_learning_rate: float = 1e-7
  sharpness: float = 5.5
  inverse_temperature: float = 100.0
  exclude_self: bool = False


def loss(
  projection: Projection,
  queries: Float[Array, "B D"],
  labels: Int[Array, "B"],
  *,
  static: ClassRows,
  text: Float[Array, "C D"] | None,
  mask: Bool[Array, "B"],
  seen: Bool[Array, "#C #R #B"],
  sharpness: float,
  inverse_temperature: float,
) -> Float[Array, ""]:
  """The mean over real queries of the cross-entropies' sum.

  Args:
    projection: what is trained.
    queries: unit rows.
    labels: their classes.
    static: text row (if any) and shots of each class.
    text: the classifier before training; None without text.
    mask: which queries are real.
    seen: which static rows each query may read.
    sharpness: beta.
    inverse_temperature: tau.
  """
  cosines = read(
    queries,
    static.rows,
    static.mask[..., None] & seen,
    projection=projection,
    sharpness=sharpness,
  )
  losses = optax.softmax_cross_entropy_with_integer_labels(
    inverse_temperature * cosines, labels
  )
  if text is not None:
    cosines = jnp.matmul(
      queries, projection.classifier(text).T, precision="highest"
    )
    losses += optax.softmax_cross_entropy_with_integer_labels(
      inverse_temperature * cosines, labels
    )
  return jnp.sum(jnp.where(mask, losses, 0)) / jnp.sum(mask)


def optimizer(
  settings: TrainSettings, num_steps: int
) -> optax.GradientTransformation:
  """AdamW under a cosine that ends after num_steps."""
  schedule = optax.cosine_decay_schedule(
    settings.learning_rate,
    num_steps,
    alpha=settings.final_learning_rate / settings.learning_rate,
  )
  return optax.adamw(schedule, eps=1e-8, weight_decay=settings.weight_decay)


def train(
  projection: Projection,
  queries: Float[np.ndarray, "n E D"],
  labels: Int[np.ndarray, "n"],
  *,
  static: ClassRows,
  text: Float32[np.ndarray, "C D"] | None,
  settings: TrainSettings,
  key: Array,
) -> tuple[Projection, Float32[np.ndarray, "T"]]:
  """The trained projection, and the loss of each step.

  Args:
    projection: where to start, all zero as published.
    queries: E augmented crops of each of n shots, unit rows. Epoch e uses
      crop e modulo E. Shots in order of class, as the last rows of `static`.
    labels: the shots' classes.
    static: text row (if any) and shots of each class.
    text: the classifier by text; None without text.
    settings: how.
    key: orders the shots of each epoch.
  """
  order, mask, epoch = _plan(len(labels), settings, key)
  given = dict(
    static=static, text=text, settings=settings, num_crops=queries.shape[1]
  )
  return jax.tree.map(
    np.asarray, _train(projection, queries, labels, order, mask, epoch, **given)
  )


def _plan(count, settings, key):
  """For each step: which shots, which of them are real, which epoch."""
  size = min(settings.batch_size, count)
  steps = -(-count // size)
  orders = np.stack([
    np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), count))
    for epoch in range(settings.epochs)
  ])  # fmt: skip
  padded = np.pad(orders, [(0, 0), (0, steps * size - count)])
  mask = np.arange(steps * size) < count
  mask = np.broadcast_to(mask, padded.shape).reshape(-1, size)
  epoch = np.repeat(np.arange(settings.epochs), steps)
  return padded.reshape(-1, size), mask, epoch


@functools.partial(jax.jit, static_argnames=("settings", "num_crops"))
def _train(
  projection, queries, labels, order, mask, epoch,
  *, static, text, settings, num_crops,
):  # fmt: skip
  adamw = optimizer(settings, len(order))
  num_shots = len(labels) // static.rows.shape[0]
  first_shot = static.rows.shape[1] - num_shots

  def step(state, batch):
    projection, moments = state
    shots, real, crop = batch
    asked = queries[shots, crop % num_crops].astype(jnp.float32)
    value, gradient = jax.value_and_grad(loss)(
      projection,
      asked,
      labels[shots],
      static=static,
      text=text,
      mask=real,
      seen=_others(shots, num_shots, first_shot, static, settings),
      sharpness=settings.sharpness,
      inverse_temperature=settings.inverse_temperature,
    )
    updates, moments = adamw.update(gradient, moments, projection)
    return (optax.apply_updates(projection, updates), moments), value

  (projection, _), losses = jax.lax.scan(
    step, (projection, adamw.init(projection)), (order, mask, epoch)
  )
  return projection, losses


def _others(shots, num_shots, first_shot, static, settings):
  """All rows, or all but the query's own shot, [C, R, B]."""
  if not settings.exclude_self:
    return jnp.ones((1, 1, 1), bool)
  classes = jnp.arange(static.rows.shape[0])[:, None, None]
  numbers = jnp.arange(static.rows.shape[1])[None, :, None]
  shots = shots[None, None]  # [1, 1, B]
  own = (classes == shots // num_shots) & (
    numbers == first_shot + shots % num_shots
  )
  return ~own
