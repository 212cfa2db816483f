"""Patches of images as rows of a memory; cells of a dictionary by a loop."""

import jax.numpy as jnp
import numpy as np
import pytest

import visual_memory as vm
from visual_memory.data import preprocess
from visual_memory.encoders import encoder_files, outputs, vit
from visual_memory.encoders.embedding import embed_patches
from visual_memory.encoders.embedding.embed_patches import patch_encoder
from visual_memory.encoders.patch_dictionary import (
  CONTRAST,
  DictionaryPatches,
  dense_responses,
)
from visual_memory.pretraining import export
from visual_memory.types import UNLABELED, Example

SIDE, PATCH, NUM_IMAGES = 32, 8, 5


class MaskedImages:
  """Random pictures; each pixel's class is a function of its place."""

  class_names = ("sky", "road", "car")
  labels = np.full(NUM_IMAGES, UNLABELED, np.int32)
  ids = np.array([f"frame/{n}.png" for n in range(NUM_IMAGES)], object)
  fingerprint = "masked images"

  def __len__(self):
    return NUM_IMAGES

  def __getitem__(self, row):
    stream = np.random.default_rng(row)
    image = stream.integers(0, 256, (40, 56, 3), dtype=np.uint8)
    return Example(image=image, label=UNLABELED, id=self.ids[row])

  def mask(self, row):
    mask = np.zeros((40, 56), np.int32)
    mask[20:] = 1
    mask[:, 28:] += 1
    mask[:9, :13] = UNLABELED
    return mask


@pytest.fixture(scope="module")
def vit_encoder():
  return vm.load_encoder(
    "vit_random", size=SIDE, patch=PATCH, dim=24, depth=2, heads=2
  )


@pytest.fixture(scope="module")
def patches(vit_encoder):
  return vm.embed(vit_encoder, MaskedImages(), tokens="patches", batch_size=4)


def test_every_patch_is_its_token_of_unit_length(vit_encoder, patches):
  pixels = np.stack(
    [
      vit_encoder.preprocess(MaskedImages()[row].image)
      for row in range(NUM_IMAGES)
    ]
  )
  outputs = vit.forward(
    vit_encoder.params,
    jnp.asarray(pixels),
    config=vit_encoder.apply.config,
  )
  tokens = outputs.patch_tokens
  tokens = np.asarray(tokens, np.float64).reshape(-1, 24)
  tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
  assert patches.embeddings.shape == (NUM_IMAGES * 16, 24)
  np.testing.assert_allclose(patches.embeddings, tokens, atol=2e-6)


def test_patches_say_where_they_are(patches):
  images, cells = embed_patches.patch_places(patches.ids)
  assert images[:17].tolist() == ["frame/0.png"] * 16 + ["frame/1.png"]
  assert cells[:17].tolist() == [[n // 4, n % 4] for n in range(16)] + [[0, 0]]


def test_patches_have_the_class_of_most_of_their_pixels(patches):
  labels = patches.labels.reshape(NUM_IMAGES, 4, 4)
  expected = [[-1, 0, 1, 1], [0, 0, 1, 1], [1, 1, 2, 2], [1, 1, 2, 2]]
  for image in labels:
    assert image.tolist() == expected


def test_majorities_of_patches_by_a_plain_loop():
  stream = np.random.default_rng(0)
  mask = stream.integers(-1, 4, (12, 12)).astype(np.int32)
  found = preprocess.patch_labels(
    mask, preprocess=preprocess.square(12), grid=(4, 4)
  )
  for row in range(4):
    for column in range(4):
      cell = mask[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
      values, counts = np.unique(cell, return_counts=True)
      assert found[row, column] == values[np.argmax(counts)]


def test_masks_are_resized_as_images_are():
  mask = np.zeros((60, 90), np.int32)
  mask[:, 46:] = 7
  chosen = preprocess.Preprocess(resize=30, crop=20)
  found = chosen.resize_and_crop_mask(mask)
  image = np.repeat(mask[..., None] * 30, 3, axis=2).astype(np.uint8)
  seen = chosen.resize_and_crop(image)[..., 0] > 105
  np.testing.assert_array_equal(found == 7, seen)


def test_a_draw_is_of_the_image_and_seed_alone(vit_encoder, patches):
  drawn = vm.embed(
    vit_encoder, MaskedImages(), tokens="patches", per_image=3, batch_size=1
  )
  again = vm.embed(
    vit_encoder, MaskedImages(), tokens="patches", per_image=3, batch_size=4
  )
  other = vm.embed(
    vit_encoder, MaskedImages(), tokens="patches", per_image=3, seed=1
  )
  assert drawn.ids.tolist() == again.ids.tolist() != other.ids.tolist()
  whole = {patch: row for row, patch in enumerate(patches.ids)}
  rows = [whole[patch] for patch in drawn.ids]
  np.testing.assert_array_equal(drawn.labels, patches.labels[rows])
  np.testing.assert_allclose(
    drawn.embeddings, patches.embeddings[rows], atol=2e-6
  )
  images, _ = embed_patches.patch_places(drawn.ids)
  _, counts = np.unique(images.astype(str), return_counts=True)
  assert counts.tolist() == [3] * NUM_IMAGES


def test_a_finished_job_is_read_from_the_cache(vit_encoder, patches, tmp_path):
  options = {"tokens": "patches", "cache_dir": tmp_path, "batch_size": 4}
  first, _ = vm_embed_with_report(vit_encoder, **options)
  second, report = vm_embed_with_report(vit_encoder, **options)
  assert report.num_reused == NUM_IMAGES
  np.testing.assert_array_equal(first.embeddings, second.embeddings)
  np.testing.assert_array_equal(first.embeddings, patches.embeddings)
  images = vm.embed(vit_encoder, MaskedImages(), cache_dir=tmp_path)
  assert len(images) == NUM_IMAGES  # The cache does not mix them up.


def vm_embed_with_report(chosen, **options):
  from visual_memory.encoders.embedding import embed

  return embed.embed_with_report(chosen, MaskedImages(), **options)


def test_removing_an_image_removes_its_patches(patches):
  memory = vm.VisualMemory.from_embedded(patches)
  memory = memory.remove(embed_patches.patches_of(memory.ids, ["frame/2.png"]))
  images, _ = embed_patches.patch_places(memory.ids)
  assert len(memory) == 4 * 16 and "frame/2.png" not in images
  near = vm.search(patches.embeddings[:3], memory, k=1)
  assert near.ids[:, 0].tolist() == patches.ids[:3].tolist()


def test_patches_and_images_cannot_be_mixed(vit_encoder, patches):
  memory = vm.VisualMemory.from_embedded(vm.embed(vit_encoder, MaskedImages()))
  with pytest.raises(ValueError, match="patches"):
    memory.add(patches)


def test_labels_of_images_where_there_are_no_masks():
  source = vm.open_source("digits", split="test")
  chosen = vm.load_encoder("pixels", size=8, patch=4)
  found = vm.embed(chosen, source, tokens="patches")
  assert len(found) == 4 * len(source)
  np.testing.assert_array_equal(found.labels, np.repeat(source.labels, 4))
  pixels = chosen.preprocess(source[0].image)[:4, 4:].ravel()
  np.testing.assert_allclose(
    found.embeddings[1], pixels / np.linalg.norm(pixels), atol=1e-6
  )


@pytest.mark.parametrize(
  "options, message",
  [
    ({"tokens": "patch"}, "'image' or 'patches'"),
    ({"per_image": 3}, "belongs to patches"),
    ({"tokens": "patches", "per_image": 17}, "has 16 patches per image"),
    ({"tokens": "patches", "batch_size": 128}, "from 1 to 64"),
  ],
)
def test_bad_requests(vit_encoder, options, message):
  with pytest.raises(ValueError, match=message):
    vm.embed(vit_encoder, MaskedImages(), **options)


def test_encoders_and_ids_without_patches(patches):
  with pytest.raises(ValueError, match="has no patches"):
    vm.embed(
      vm.load_encoder("pixels", size=9, patch=4),
      MaskedImages(),
      tokens="patches",
    )
  with pytest.raises(ValueError, match="'cat', is no patch"):
    embed_patches.patch_places(["a#1,2", "cat"])
  with pytest.raises(ValueError, match="No row is a patch of 'nothing'"):
    embed_patches.patches_of(patches.ids, ["nothing"])


def test_patch_rows_keep_zero_rows():
  rows = np.zeros((2, 3, 5), np.float32)
  rows[0, 1] = 2
  found = np.asarray(outputs.unit_rows(rows))
  np.testing.assert_allclose(np.linalg.norm(found, axis=-1)[0], [0, 1, 0])


WORD_PATCH, CELL, WORD_SIDE, THRESHOLD = 3, 4, 12, 0.2


def test_cells_know_their_surroundings():
  rng = np.random.default_rng(0)
  params = {
    "kernel": rng.normal(size=(WORD_PATCH * WORD_PATCH * 3, 5)).astype(
      np.float32
    ),
    "bias": 0.1 * rng.normal(size=5).astype(np.float32),
    "mean": rng.random(20).astype(np.float32),
  }
  pixels = rng.random((2, WORD_SIDE, WORD_SIDE, 3)).astype(np.float32)
  places = WORD_SIDE - WORD_PATCH + 1
  found = np.zeros((2, places, places, 5))
  for row in range(places):
    for column in range(places):
      patches = pixels[:, row : row + WORD_PATCH, column : column + WORD_PATCH]
      patches = patches.reshape(2, -1).astype(np.float64)
      patches = patches - patches.mean(axis=1, keepdims=True)
      patches /= np.sqrt(patches.var(axis=1, keepdims=True) + CONTRAST)
      scores = patches @ params["kernel"] - params["bias"] - THRESHOLD
      found[:, row, column] = np.maximum(scores, 0)
  ours = dense_responses(params, pixels, patch=WORD_PATCH, threshold=THRESHOLD)
  np.testing.assert_allclose(ours, found, atol=2e-4)

  cells = DictionaryPatches(patch=WORD_PATCH, threshold=THRESHOLD, cell=CELL)
  tokens = np.asarray(cells(params, pixels)).reshape(2, 3, 3, 5)
  usual = params["mean"].reshape(-1, 5).mean(axis=0)
  middle = np.arange(places) + (WORD_PATCH - 1) // 2
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
