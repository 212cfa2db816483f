"""Leaves and mixing against NumPy and OpenCV."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from visual_memory import distributed
from visual_memory.procedural import baselines, leaves, mixing, source

cv2 = pytest.importorskip("cv2", reason="the oracle is OpenCV's")


def oracle_clusters(image):
  """1 where a pixel of a float64 image [256, 256, 3] is in cluster 0."""
  points = image.reshape(-1, 3)
  ordered = np.unique(points, axis=0)  # Sorted by red, then green, then blue.
  centers = np.stack([ordered[0], ordered[-1]])
  for _ in range(3):
    distances = ((points[:, None] - centers[None]) ** 2).sum(-1)
    labels = distances.argmin(1)
    centers = np.stack(
      [
        points[labels == k].mean(0) if (labels == k).any() else centers[k]
        for k in (0, 1)
      ]
    )
  return (labels == 0).astype(np.float32).reshape(256, 256)


def oracle_leaf(shape, first, second):
  size = shape.shape[0]
  # Enlarging needs no antialiasing, so OpenCV's is the one of the reference.
  large = cv2.resize(shape, (256, 256), interpolation=cv2.INTER_LINEAR)
  mask = cv2.blur(oracle_clusters(large.astype(np.float64)), (3, 3))
  mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR)
  mask = cv2.blur(mask, (3, 3))[:, :, None]
  return mask * first + (1 - mask) * second


def pictures(size, num):
  """Smooth pictures of 8-bit colors, and one of a single color."""
  rng = np.random.default_rng(size)
  small = rng.random((num, 6, 6, 3)).astype(np.float32)
  large = np.stack([cv2.resize(p, (size, size)) for p in small])
  large = np.round(large * 255).astype(np.float32) / 255
  large[0] = large[0, 0, 0]
  return large


@pytest.mark.parametrize("size", [32, 48, 128, 256])
def test_leaves_equal_the_oracle(size):
  shapes, first, second = pictures(size, 12).reshape(3, 4, size, size, 3)
  ours = np.asarray(jax.jit(leaves.kmeans_leaves)(shapes, first, second))
  theirs = np.stack(
    [oracle_leaf(*images) for images in zip(shapes, first, second, strict=True)]
  )
  # A pixel between both means may fall on either side in float32.
  differing = np.abs(ours - theirs).max(-1) > 1e-4
  assert differing.mean() < 1e-3
  np.testing.assert_allclose(ours[0], first[0], atol=1e-6)  # One color.


def test_the_first_texture_is_for_the_darker_red():
  shape = np.zeros((1, 64, 64, 3), np.float32)
  shape[:, :, 32:, 0] = 1.0
  ones, zeros = np.ones_like(shape), np.zeros_like(shape)
  leaf = np.asarray(leaves.kmeans_leaves(shape, ones, zeros))
  np.testing.assert_allclose(leaf[:, :, :28], 1.0, atol=1e-6)
  np.testing.assert_allclose(leaf[:, :, 36:], 0.0, atol=1e-6)
  assert 0 < leaf[0, 5, 31, 0] < 1 or 0 < leaf[0, 5, 32, 0] < 1


def test_shrinking_is_antialiased_as_published():
  """Pictures above 256 pixels, against a triangle filter in NumPy."""
  image = pictures(320, 2)[1]
  scale = 320 / 256
  place = (np.arange(256) + 0.5) * scale - 0.5
  weights = np.maximum(
    1 - np.abs(np.arange(320)[None] - place[:, None]) / scale, 0
  )
  weights /= weights.sum(1, keepdims=True)
  theirs = np.einsum("ih,jw,hwc->cij", weights, weights, image, optimize=True)
  ours = leaves.resized(jnp.moveaxis(jnp.asarray(image), -1, 0))
  assert ours.shape[1:3] == (1, 1)
  np.testing.assert_allclose(ours[:, 0, 0], theirs, atol=2e-5)


def test_mixing_equals_numpy():
  images = pictures(16, 18).reshape(6, 3, 16, 16, 3)
  np.testing.assert_allclose(
    mixing.mixup(images[0], images[1]), (images[0] + images[1]) / 2, atol=1e-7
  )
  keys = jax.random.split(jax.random.key(0), 4000)
  weights = np.asarray(mixing.dirichlet_weights(keys, num=6))
  np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-5)
  # The moments of Dirichlet(1 x 6).
  np.testing.assert_allclose(weights.mean(0), 1 / 6, atol=0.01)
  np.testing.assert_allclose(weights.var(0), 5 / (36 * 7), atol=0.002)
  mixed = mixing.weighted_mean(images, weights[:3])
  theirs = np.einsum("nbhwc,bn->bhwc", images, weights[:3])
  np.testing.assert_allclose(mixed, theirs, atol=1e-6)


def test_kml_mixup_is_made_of_shaders_that_ids_choose():
  """The family equals its steps, done one by one."""
  key, ids = jax.random.key(1), np.array([4, 9], np.int32)
  got = source.sample_images(key, ids, size=16, seed=0, family="kml_mixup")
  parts = source.draw_shaders(
    jnp.broadcast_to(key, 2), jnp.asarray(ids), seed=0, size=16, num=6,
    mesh=distributed.make_mesh(1),
  )  # fmt: skip
  parts = jnp.moveaxis(parts, 1, 0).astype(jnp.float32) / 255
  first, second = (leaves.kmeans_leaves(*parts[i : i + 3]) for i in (0, 3))
  theirs = np.asarray(source.quantize(mixing.mixup(first, second)))
  assert np.abs(theirs.astype(int) - np.asarray(got)).max() <= 1
  assert (np.asarray(got)[0] != np.asarray(got)[1]).any()


@pytest.mark.parametrize(
  "draw",
  [
    baselines.dead_leaves,
    baselines.fractal_noise,
    baselines.iterated_functions,
  ],
)
def test_baselines_are_pictures_of_their_keys(draw):
  keys = jax.random.split(jax.random.key(2), 3)
  images = np.asarray(draw(keys, size=16))
  assert images.shape == (3, 16, 16, 3)
  assert 0 <= images.min() and images.max() <= 1
  assert images.std((1, 2)).max(-1).min() > 0.01
  again = np.asarray(draw(keys[1:2], size=16))
  np.testing.assert_allclose(again[0], images[1], atol=2e-6)
