"""Cells of a patch dictionary by a plain loop."""

import numpy as np
import pytest

import visual_memory as vm
from visual_memory.encoders import encoder_files
from visual_memory.encoders.dictionary.patch_dictionary import (
  CONTRAST,
  DictionaryPatches,
  dense_responses,
)
from visual_memory.encoders.embedding.embed_patches import patch_encoder
from visual_memory.pretraining import export

PATCH, CELL, SIDE, THRESHOLD = 3, 4, 12, 0.2


def test_cells_know_their_surroundings():
  rng = np.random.default_rng(0)
  params = {
    "kernel": rng.normal(size=(PATCH * PATCH * 3, 5)).astype(np.float32),
    "bias": 0.1 * rng.normal(size=5).astype(np.float32),
    "mean": rng.random(20).astype(np.float32),
  }
  pixels = rng.random((2, SIDE, SIDE, 3)).astype(np.float32)
  places = SIDE - PATCH + 1
  found = np.zeros((2, places, places, 5))
  for row in range(places):
    for column in range(places):
      patches = pixels[:, row : row + PATCH, column : column + PATCH]
      patches = patches.reshape(2, -1).astype(np.float64)
      patches = patches - patches.mean(axis=1, keepdims=True)
      patches /= np.sqrt(patches.var(axis=1, keepdims=True) + CONTRAST)
      scores = patches @ params["kernel"] - params["bias"] - THRESHOLD
      found[:, row, column] = np.maximum(scores, 0)
  ours = dense_responses(params, pixels, patch=PATCH, threshold=THRESHOLD)
  np.testing.assert_allclose(ours, found, atol=2e-4)

  cells = DictionaryPatches(patch=PATCH, threshold=THRESHOLD, cell=CELL)
  tokens = np.asarray(cells(params, pixels)).reshape(2, 3, 3, 5)
  usual = params["mean"].reshape(-1, 5).mean(axis=0)
  middle = np.arange(places) + (PATCH - 1) // 2
  for row in range(3):
    for column in range(3):
      near = [
        (middle >= CELL * (n - 1)) & (middle < CELL * (n + 2))
        for n in (row, column)
      ]
      window = found[:, near[0]][:, :, near[1]]
      expected = np.sqrt(window.mean(axis=(1, 2))) - usual
      np.testing.assert_allclose(tokens[:, row, column], expected, atol=2e-4)


def test_windows_are_embeddings_of_what_is_cut_out():
  whole = vm.load_encoder("procedural_patches")
  windows = vm.load_encoder(
    "procedural_patches", image_size=48, dense="windows"
  )
  cells = vm.load_encoder("procedural_patches", image_size=48)
  assert windows.fingerprint == cells.fingerprint  # Images are embedded alike.
  assert patch_encoder(windows).fingerprint != patch_encoder(cells).fingerprint
  pixels = np.random.default_rng(1).random((1, 48, 48, 3)).astype(np.float32)
  found = np.asarray(windows.apply_patches(windows.params, pixels))
  assert found.shape == (1, 144, 384)
  mirrored = np.pad(pixels[0], ((14, 14), (14, 14), (0, 0)), "reflect")
  for row, column in ((0, 0), (5, 3), (11, 11)):
    crop = mirrored[4 * row : 4 * row + 32, 4 * column : 4 * column + 32]
    expected = np.asarray(whole.apply(whole.params, crop[None]))[0]
    np.testing.assert_allclose(found[0, 12 * row + column], expected, atol=2e-4)
  with pytest.raises(ValueError, match="choose cells or windows"):
    vm.load_encoder("procedural_patches", dense="tokens")


def test_both_side_by_side_are_as_similar_as_on_average():
  """A picture of doubled pixels is the dictionary's picture exactly."""
  images = np.random.default_rng(3).integers(
    0, 256, (6, 8, 8, 3), dtype=np.uint8
  )
  small = images.repeat(4, axis=1).repeat(4, axis=2)
  both = vm.load_encoder("procedural_vit")
  rows = both.encode(small.repeat(2, axis=1).repeat(2, axis=2))
  words = vm.load_encoder("procedural_patches").encode(small)
  size = words.shape[1]
  assert both.dim == rows.shape[1] == size + 384
  np.testing.assert_allclose(rows[:, :size] * np.sqrt(2), words, atol=1e-5)
  tokens = rows[:, size:] * np.sqrt(2)
  np.testing.assert_allclose(np.linalg.norm(tokens, axis=1), 1, atol=1e-5)
  np.testing.assert_allclose(
    rows @ rows.T, (words @ words.T + tokens @ tokens.T) / 2, atol=1e-5
  )


def test_an_encoder_of_two_is_refused_unless_they_fit(tmp_path):
  words = encoder_files.SHIPPED / "procedural_patches.npz"
  with pytest.raises(ValueError, match=r"wanted; these are \('patches', 'pat"):
    export.export_beside(words, words, tmp_path / "x", weight=1.0, about={})
  with pytest.raises(ValueError, match="48 pixels is no multiple of the 32"):
    vm.load_encoder("procedural_vit", image_size=48)
