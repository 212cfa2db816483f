"""What is minimized: DINO's cross-entropy, or a contrastive loss.

References: Caron et al. 2021, equation 1 to 4 and algorithm 1 (DINO, with its
multi-crop form and centering); Khosla et al., "Supervised contrastive
learning", 2020, equation 2.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32, Int

from visual_memory.types import Array


def dino_loss(
  student: Float[Array, "V B K"],
  teacher: Float[Array, "G B K"],
  center: Float[Array, "K"],
  *,
  student_temperature: float | jax.Array,
  teacher_temperature: float | jax.Array,
  weights: Float[Array, "B"] | None = None,
) -> Float32[jax.Array, ""]:
  """The mean cross-entropy of student views under other views' teacher.

  Over all pairs of a teacher view i and a student view v other than i, the
  mean over the batch of -sum_k q_ik log p_vk, where q = softmax((t - c) / T_t)
  and p = softmax(s / T_s).

  Args:
    student: logits of V views, of which the first G are the teacher's.
    teacher: logits of the G global views; no gradient flows into them.
    center: what is subtracted from the teacher's logits.
    student_temperature: T_s.
    teacher_temperature: T_t.
    weights: of the images in the mean over the batch; see `mean_images`.

  Returns:
    The mean over G * V - G pairs; each pair would be log(K) for uniform views.
  """
  targets = teacher_probabilities(teacher, center, teacher_temperature)
  logs = jax.nn.log_softmax(student.astype(jnp.float32) / student_temperature)
  views, globals_ = student.shape[0], teacher.shape[0]
  # The sum over v other than i, without a [G, V, B, K] array.
  others = jnp.sum(logs, axis=0)[None] - logs[:globals_]
  total = -jnp.sum(targets * others, axis=-1)  # [G, B]
  per_image = jnp.sum(total, axis=0)[None]
  return mean_images(per_image, weights) / (globals_ * (views - 1))


def mean_images(
  values: Float[Array, "V B *rest"], weights: Float[Array, "B"] | None
) -> Float32[jax.Array, "*rest"]:
  """The mean over views and images.

  Args:
    values: of V views of B images.
    weights: of the images, summing to one: zero for those that only fill a
      batch. All alike if None.
  """
  if weights is None:
    return jnp.mean(values, axis=(0, 1))
  return jnp.einsum(
    "vb...,b->...", values, weights, precision=jax.lax.Precision.HIGHEST
  ) / len(values)


def teacher_probabilities(
  teacher: Float[Array, "G B K"],
  center: Float[Array, "K"],
  temperature: float | jax.Array,
) -> Float32[jax.Array, "G B K"]:
  """softmax((t - c) / T), through which no gradient flows."""
  logits = (teacher.astype(jnp.float32) - center[None, None]) / temperature
  return jax.lax.stop_gradient(jax.nn.softmax(logits))


def moved_center(
  center: Float[Array, "K"],
  batch_mean: Float[Array, "K"],
  *,
  momentum: float,
) -> Float32[jax.Array, "K"]:
  """The center after a step: momentum c + (1 - momentum) mean.

  Args:
    center: c.
    batch_mean: of the teacher's raw logits over its views and the whole batch,
      on all devices.
    momentum: what is kept.
  """
  return center * momentum + batch_mean * (1 - momentum)


def entropy(
  probabilities: Float[Array, "*rows K"],
) -> Float32[jax.Array, "*rows"]:
  """-sum p log p in nats: 0 for certainty, log(K) for no preference."""
  logs = jnp.log(jnp.maximum(probabilities, jnp.finfo(jnp.float32).tiny))
  return -jnp.sum(probabilities * logs, axis=-1)


def contrastive_loss(
  projections: Float[Array, "V B D"],
  labels: Int[Array, "B"],
  *,
  temperature: float,
  weights: Float[Array, "B"] | None = None,
) -> Float32[jax.Array, ""]:
  """The supervised contrastive loss over all views of all images of a batch.

  Every view is an anchor; its positives are the other views of its image and
  all views of images with its label. The loss is the mean over anchors of the
  mean over positives of -log(exp(z_a z_p / T) / sum_{n != a} exp(z_a z_n / T)).
  With labels that are all different this is SimCLR's loss.

  Args:
    projections: unit vectors z of V views of B images.
    labels: class of each image.
    temperature: T.
    weights: of the images as anchors; see `mean_images`. Those of weight zero
      are nobody's negatives.
  """
  views, batch, dim = projections.shape
  # Images lead, as they do on the devices.
  rows = projections.astype(jnp.float32).swapaxes(0, 1).reshape(-1, dim)
  similarities = jnp.matmul(rows, rows.T, precision="highest") / temperature
  labels = jnp.repeat(labels, views)
  left_out = jnp.eye(views * batch, dtype=bool)
  if weights is not None:
    left_out |= jnp.repeat(weights == 0, views)[None, :]
  logs = jax.nn.log_softmax(jnp.where(left_out, -jnp.inf, similarities))
  positive = (labels[:, None] == labels[None, :]) & ~left_out
  picked = jnp.sum(jnp.where(positive, logs, 0.0), axis=1)
  picked = picked / jnp.maximum(1, jnp.sum(positive, axis=1))
  return -mean_images(picked.reshape(batch, views).T, weights)
