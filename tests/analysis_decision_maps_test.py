"""Where a similarity comes from: a plain loop, and what must hold."""

import numpy as np
import pytest

import visual_memory as vm
from visual_memory.analysis import decision_maps
from visual_memory.encoders.dictionary.contributions import contributions
from visual_memory.encoders.dictionary.patch_dictionary import (
  PatchDictionary,
  dense_responses,
)
from visual_memory.reports import pictures
from visual_memory.types import Neighbors, embedded_set

PATCH, SIDE, WORDS, DIM = 3, 9, 5, 4


@pytest.fixture(scope="module")
def dictionary():
  rng = np.random.default_rng(0)
  params = {
    "kernel": rng.normal(size=(PATCH * PATCH * 3, WORDS)).astype(np.float32),
    "bias": 0.1 * rng.normal(size=WORDS).astype(np.float32),
    "mean": rng.random(4 * WORDS).astype(np.float32),
    "projection": rng.normal(size=(4 * WORDS, DIM)).astype(np.float32),
  }
  pixels = rng.random((2, SIDE, SIDE, 3)).astype(np.float32)
  rows = rng.normal(size=(2, DIM)).astype(np.float32)
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  apply = PatchDictionary(patch=PATCH, grid=2, threshold=0.2)
  return apply, params, pixels, rows


def test_parts_of_a_dictionary_by_a_plain_loop(dictionary):
  apply, params, pixels, rows = dictionary
  found = np.asarray(
    dense_responses(params, pixels, patch=PATCH, threshold=0.2), np.float64
  )
  embeddings = np.asarray(apply(params, pixels), np.float64)
  lengths = np.linalg.norm(embeddings, axis=1)
  expected, edges = np.zeros((2, 7, 7)), (0, 4, 7)
  for b in range(2):
    say = params["projection"].astype(np.float64) @ rows[b] / lengths[b]
    for i in range(7):
      for j in range(7):
        y, x = int(i >= 4), int(j >= 4)
        cell = found[b, edges[y] : edges[y + 1], edges[x] : edges[x + 1]]
        count = cell.shape[0] * cell.shape[1]
        for word in range(WORDS):
          entry = (2 * y + x) * WORDS + word
          mean = cell[..., word].mean()
          part = found[b, i, j, word] / np.sqrt(mean) if mean else 0.0
          part -= params["mean"][entry]
          expected[b, i, j] += say[entry] * part / count
  maps = np.asarray(contributions(apply, params, pixels, rows))
  np.testing.assert_allclose(maps, expected, atol=2e-5)
  cosines = (embeddings / lengths[:, None] * rows).sum(axis=1)
  np.testing.assert_allclose(maps.sum(axis=(1, 2)), cosines, atol=1e-5)


def test_maps_of_the_encoders():
  shipped = vm.load_encoder("procedural_patches")
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
  embeddings = shipped.encode(images)
  pixels = np.stack([shipped.preprocess(image) for image in images])
  maps = decision_maps.decision_maps(shipped, pixels, embeddings[::-1].copy())
  assert maps.shape == (2, 32, 32)
  cosine = embeddings[0] @ embeddings[1]
  np.testing.assert_allclose(maps.sum(axis=(1, 2)), cosine, atol=1e-4)

  vit = vm.load_encoder("vit_random", size=8, depth=1, dim=24, heads=2)
  pixels = np.stack([vit.preprocess(image) for image in images])
  maps = decision_maps.decision_maps(vit, pixels, vit.encode(images)[::-1])
  assert maps.shape == (2, 2, 2) and 0 <= maps.min() <= maps.max() <= 1
  assert maps.max() > 0

  plain = vm.load_encoder("pixels", size=8)
  pixels = np.stack([plain.preprocess(image) for image in images])
  none = decision_maps.decision_maps(plain, pixels, plain.encode(images))
  assert none is None


def test_a_direction_is_the_mean_of_the_neighbors():
  rows = embedded_set(
    np.eye(4, dtype=np.float32),
    np.zeros(4, np.int32),
    ["a", "b", "c", "d"],
    class_names=("x",),
    fingerprint="f",
  )
  near = Neighbors(
    ids=np.array([["d", "a"]], object),
    indices=np.array([[30, 7]], np.int32),  # Places in the memory differ.
    labels=np.zeros((1, 2), np.int32),
    similarities=np.zeros((1, 2), np.float32),
  )
  found = decision_maps.neighbor_directions(near, rows)
  np.testing.assert_array_equal(found, [[0.5, 0, 0, 0.5]])


def test_overlays_show_the_sign():
  picture = np.full((4, 6, 3), 100, np.uint8)
  shown = pictures.overlaid(picture, np.array([[1.0, -1.0]], np.float32))
  left, right = shown[0, 0].astype(int), shown[0, -1].astype(int)
  assert left[0] > left[2] and right[2] > right[0]
  same = pictures.overlaid(picture, np.zeros((2, 2), np.float32))
  np.testing.assert_array_equal(same, picture)
