"""Segmentation against plain loops, scikit-learn and float64."""

import itertools

import numpy as np
import pytest
from scipy import special
from sklearn import decomposition, linear_model, metrics

import visual_memory as vm
from visual_memory.analysis.segmentation import (
  agreement,
  patch_voting,
  token_spread,
  unsupervised,
  untrained,
)
from visual_memory.types import UNLABELED, embedded_set
from visual_memory.voting import weighting


def random_masks(seed, shape=(9, 7), num_classes=4):
  stream = np.random.default_rng(seed)
  true = stream.integers(UNLABELED, num_classes, shape).astype(np.int32)
  found = stream.integers(UNLABELED, num_classes, shape).astype(np.int32)
  return true, found


def test_scores_by_a_plain_loop():
  num_classes, both, either = 4, np.zeros(4), np.zeros(4)
  right = front = counted = front_counted = 0
  counts = 0
  for seed in range(3):
    true, found = random_masks(seed)
    counts += agreement.confusion(found, true, num_classes=num_classes)
    for place in itertools.product(*map(range, true.shape)):
      t, f = true[place], found[place]
      if t == UNLABELED:
        continue
      counted += 1
      right += t == f
      front_counted += t != 0
      front += t == f != 0
      for c in range(num_classes):
        both[c] += t == f == c
        either[c] += c in (t, f)
  scores = agreement.segment_scores(counts, background=0)
  np.testing.assert_allclose(scores.class_iou, both / either)
  assert scores.mean_iou == pytest.approx((both / either).mean())
  assert scores.pixel_accuracy == right / counted
  assert scores.foreground_accuracy == front / front_counted
  assert scores.num_pixels == counted


def test_iou_is_the_jaccard_score_of_scikit_learn():
  true, _ = random_masks(5)
  _, found = random_masks(6)
  true, found = np.maximum(true, 0), np.maximum(found, 0)
  counts = agreement.confusion(found, true, num_classes=4)
  np.testing.assert_allclose(
    agreement.segment_scores(counts).class_iou,
    metrics.jaccard_score(true.ravel(), found.ravel(), average=None),
  )
  mask, map_, every = true == 1, found == 1, np.ones(true.shape, bool)
  expected = metrics.jaccard_score(mask.ravel(), map_.ravel())
  assert agreement.hard_iou(map_, mask, every) == pytest.approx(expected)
  soft = agreement.soft_iou(map_.astype(np.float64), mask, every)
  assert soft == pytest.approx(expected)


def test_absent_classes_do_not_count():
  true = np.zeros((2, 2), np.int32)
  scores = agreement.segment_scores(
    agreement.confusion(true, true, num_classes=3)
  )
  assert scores.mean_iou == 1
  assert np.isnan(scores.class_iou[1:]).all()
  with pytest.raises(ValueError, match="classes 0 to 2"):
    agreement.confusion(true + 3, true, num_classes=3)
  with pytest.raises(ValueError, match="nothing to score"):
    agreement.segment_scores(np.zeros((3, 4), int))


@pytest.fixture(scope="module")
def pictures():
  stream = np.random.default_rng(0)
  low = stream.normal(size=(2, 4, 5, 3)) * (5, 3, 2)
  mix = np.linalg.qr(stream.normal(size=(6, 6)))[0]
  noise = 0.1 * stream.normal(size=(2, 4, 5, 3))
  rows = np.concatenate([low, noise], axis=-1) @ mix + 1
  return rows.astype(np.float32)


def test_pca_maps_are_those_of_scikit_learn(pictures):
  """At the size of the features, where nothing is resized."""
  square = pictures[:, :, :4]
  found = np.asarray(unsupervised.pca_maps(square, size=4))
  for picture, maps in zip(square, found, strict=True):
    pca = decomposition.PCA(3, svd_solver="full").fit(picture.reshape(-1, 6))
    expected = pca.transform(picture.reshape(-1, 6))
    expected -= expected.min(axis=0)
    expected /= expected.max(axis=0)
    np.testing.assert_allclose(maps.reshape(-1, 3), expected, atol=2e-4)


def test_explained_variance_by_a_plain_loop(pictures):
  maps = pictures[0].astype(np.float64)
  mask = np.array([[0, 0, 1, 1, -1]] * 3 + [[2, 2, 2, -1, 1]], np.int32)
  kept = maps[mask != -1]
  for as_published, center in ((False, kept.mean(axis=0)), (True, kept.mean())):
    within = sum(
      np.square(maps[mask == c] - maps[mask == c].mean(axis=0)).sum()
      for c in range(3)
    )
    expected = 1 - within / np.square(kept - center).sum()
    found = unsupervised.explained_by_classes(
      maps, mask, as_published=as_published
    )
    assert found == pytest.approx(expected, abs=1e-12)


def test_explained_variance_where_all_pixels_have_a_class(pictures):
  mask = np.tile(np.array([3, 3, 5, 5, 9], np.int32), (4, 1))
  standard = unsupervised.explained_by_classes(pictures[0], mask)
  published = unsupervised.explained_by_classes(
    pictures[0], mask, as_published=True
  )
  without = np.where(mask == 3, UNLABELED, mask)
  assert published == unsupervised.explained_by_classes(
    pictures[0], without, as_published=True
  )
  assert published != standard
  assert np.isnan(
    unsupervised.explained_by_classes(
      pictures[0], np.full_like(mask, UNLABELED)
    )
  )
  one = np.zeros_like(mask)
  assert unsupervised.explained_by_classes(pictures[0], one) == pytest.approx(0)


def test_attention_is_that_of_float64():
  stream = np.random.default_rng(1)
  prompt, query = stream.normal(size=(2, 3, 4, 8)).astype(np.float32) * 3
  mask = stream.integers(0, 2, (6, 12)).astype(np.float32)
  keys = prompt.reshape(12, 8).astype(np.float64)
  queries = query.reshape(12, 8).astype(np.float64)
  attention = special.softmax(queries @ keys.T / 8, axis=1)
  unit = keys / np.linalg.norm(keys, axis=1, keepdims=True)
  nearest = np.argmax(queries @ unit.T, axis=1)
  expected, copied = np.zeros((6, 12)), np.zeros((6, 12))
  for q in range(12):
    place = (slice(q // 4 * 2, q // 4 * 2 + 2), slice(q % 4 * 3, q % 4 * 3 + 3))
    for p in range(12):
      cell = mask[p // 4 * 2 :, p % 4 * 3 :][:2, :3]
      expected[place] += attention[q, p] * cell
      if p == nearest[q]:
        copied[place] = cell
  found = unsupervised.attend(prompt, mask, query)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  found = unsupervised.attend(prompt, mask, query, nearest=True)
  np.testing.assert_array_equal(found, copied)
  np.testing.assert_allclose(
    unsupervised.cut(np.array([0.1, 0.2, 0.6, 1.0]), threshold=0.2),
    [0, 0, 0.5, 1],
    atol=1e-12,
  )
  with pytest.raises(ValueError, match="7x12 pixels does not divide"):
    unsupervised.attend(prompt, np.zeros((7, 12), np.float32), query)


def test_attention_of_cosines_is_that_of_float64():
  stream = np.random.default_rng(2)
  prompt, query = stream.normal(size=(2, 3, 4, 8)).astype(np.float32) * 3
  mask = stream.integers(0, 2, (3, 4)).astype(np.float32)
  keys, queries = (
    x.reshape(12, 8) / np.linalg.norm(x.reshape(12, 8), axis=1, keepdims=True)
    for x in (prompt.astype(np.float64), query.astype(np.float64))
  )
  weights = special.softmax(queries @ keys.T / 0.1, axis=1)
  expected = (weights @ mask.reshape(-1)).reshape(3, 4)
  found = unsupervised.attend(prompt, mask, query, temperature=0.1)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  nearest = unsupervised.attend(prompt, mask, query, nearest=True)
  cold = unsupervised.attend(prompt, mask, query, temperature=1e-4)
  np.testing.assert_allclose(cold, nearest, atol=1e-5)


def test_the_form_of_attention_is_chosen_on_other_pictures():
  encoder = vm.load_encoder("pixels", size=8, patch=2)
  prompts = HalfAndHalf([c * n for n, c in enumerate("abcdefgh", 1)])
  way, scores = untrained.best_attention(
    encoder, prompts, temperatures=(0.01, 100.0), held_out=0.4, seed=0,
    batch_size=4,
  )  # fmt: skip
  assert set(scores) == {
    "0.01", "100", "0.01, centered", "100, centered",
  }  # fmt: skip
  assert scores["100"] < 0.9 < scores["0.01, centered"]
  assert way["temperature"] == 0.01
  found = untrained.prompted_iou(
    encoder, prompts, HalfAndHalf(["xxx", "yyyy"]), seed=0, batch_size=4,
    ways={"tuned": way},
  )  # fmt: skip
  assert found["tuned"].hard.min() > 0.9


def test_the_spread_of_tokens_by_entropy_in_float64():
  scores = np.random.default_rng(3).normal(size=(4, 6)) * 2
  weights = special.softmax(scores, axis=1)
  expected = np.exp(special.entr(weights).sum(axis=1)).mean() / 6
  assert token_spread.effective_share(scores) == pytest.approx(expected)
  assert token_spread.effective_share(np.zeros((2, 6))) == pytest.approx(1)

  encoder = vm.load_encoder("pixels", size=8, patch=2)
  source = HalfAndHalf(["a", "bb", "ccc"])
  rows = np.stack([encoder.preprocess(source[i].image) for i in range(3)])
  tokens = rows.reshape(3, 4, 2, 4, 2, 3).swapaxes(2, 3).reshape(48, 12)
  spread = token_spread.token_spread(encoder, source, batch_size=2)
  squares = np.square(tokens.astype(np.float64)).sum(axis=1).mean()
  assert spread.mean_square == pytest.approx(squares / 12, rel=1e-5)
  common = np.square(tokens.mean(axis=0, dtype=np.float64)).sum() / squares
  assert spread.common == pytest.approx(common, rel=1e-4)
  attended = [
    token_spread.effective_share(tokens[i : i + 16] @ tokens[i - 16 : i].T / 12)
    for i in (16, 32)
  ]
  assert spread.attended == pytest.approx(np.mean(attended), rel=1e-4)


def test_brightness_in_maps_is_the_r2_of_scikit_learn():
  stream = np.random.default_rng(4)
  picture = stream.random((6, 5, 3)).astype(np.float32)
  maps = stream.random((6, 5, 3)).astype(np.float32)
  maps[..., 0] += picture[..., 1]
  rows, target = maps.reshape(-1, 3), picture.mean(axis=2).reshape(-1)
  expected = linear_model.LinearRegression().fit(rows, target)
  assert unsupervised.brightness_in(maps, picture) == pytest.approx(
    expected.score(rows, target), abs=1e-5
  )
  assert unsupervised.brightness_in(picture, picture) == pytest.approx(1)
  assert np.isnan(unsupervised.brightness_in(maps, np.ones_like(picture)))


def test_clusters_that_are_the_objects_match_them():
  mask = np.array([[4, 4, 4], [7, 7, 4], [7, 7, -1]], np.int32)
  features = np.stack([mask * 10.0, mask == 7], axis=-1).astype(np.float32)
  features[2, 2] = features[0, 0]
  found = unsupervised.cluster(features, num_clusters=2, seed=0)
  np.testing.assert_allclose(unsupervised.matched_iou(found, mask), [1, 1])
  with pytest.raises(ValueError, match="10 clusters .* 9 patches"):
    unsupervised.cluster(features, num_clusters=10, seed=0)


def test_matching_is_the_best_of_all():
  stream = np.random.default_rng(2)
  mask = stream.integers(0, 4, (6, 6))
  found = stream.integers(0, 3, (6, 6))
  best = max(
    sum(
      ((mask == c) & (found == k)).sum() / ((mask == c) | (found == k)).sum()
      for k, c in enumerate(order)
    )
    for order in itertools.permutations(range(4), 3)
  )
  result = unsupervised.matched_iou(found, mask)
  assert len(result) == 4 and result.sum() == pytest.approx(best)


class HalfAndHalf:
  """Dark pictures on the left, bright ones on the right: two classes."""

  class_names = ("dark", "bright")
  fingerprint = "half and half"

  def __init__(self, names):
    self.ids = np.array(names, object)
    self.labels = np.full(len(names), UNLABELED, np.int32)

  def __len__(self):
    return len(self.ids)

  def _edge(self, row):
    return 2 * (1 + len(self.ids[row]) % 3)

  def __getitem__(self, row):
    noise = np.random.default_rng(row).integers(0, 20, (8, 8, 3))
    image = noise.astype(np.uint8)
    image[:, self._edge(row) :] += 200
    return vm.types.Example(image=image, label=UNLABELED, id=self.ids[row])

  def mask(self, row):
    mask = np.zeros((8, 8), np.int32)
    mask[:, self._edge(row) :] = 1
    return mask


def test_patches_of_other_pictures_segment_a_picture():
  encoder = vm.load_encoder("pixels", size=8, patch=2)
  rows = vm.embed(encoder, HalfAndHalf(["a", "bb", "ccc"]), tokens="patches")
  memory = vm.VisualMemory.from_embedded(rows)
  source = HalfAndHalf(["dddd", "eeeee", "ffffff"])
  asked = vm.embed(encoder, source, tokens="patches")
  settings = {"rank": weighting.setting("rank", offset=2.0)}
  found = patch_voting.patch_confusions(
    asked, source, memory, settings=settings, ks=(1, 5), images_at_once=2
  )
  at_once = patch_voting.patch_confusions(
    asked, source, memory, settings=settings, ks=(1, 5), images_at_once=3
  )
  for k in (1, 5):
    np.testing.assert_array_equal(found["rank"][k], at_once["rank"][k])
    # An edge between patches is where the interpolation puts it.
    assert agreement.segment_scores(found["rank"][k]).mean_iou == 1
  with pytest.raises(ValueError, match="lack patches of their 4x4"):
    next(patch_voting.picture_groups(asked.take(np.arange(40)), 8))
  with pytest.raises(ValueError, match="scored against masks"):
    patch_voting.patch_confusions(
      asked, vm.open_source("digits"), memory, settings=settings, ks=(1,)
    )


def test_pixels_without_any_vote_have_no_class():
  scores = np.zeros((2, 2, 3), np.float32)
  scores[:, 1, 2] = 0.3
  found = patch_voting.pixel_classes(scores, shape=(4, 8))
  assert (found[:, :2] == UNLABELED).all() and (found[:, 3:] == 2).all()


def test_rows_of_patches_vote_like_rows_of_images():
  rows = embedded_set(
    np.eye(4, dtype=np.float32),
    np.array([0, 1, UNLABELED, 1]),
    [f"a#0,{n}" for n in range(4)],
    class_names=("x", "y"),
    fingerprint="f/patches1x4",
  )
  memory = vm.VisualMemory.from_embedded(rows)
  near = vm.search(rows.embeddings, memory, k=1)
  votes = vm.vote(near, voter="plurality", ks=(1,), num_classes=2)
  assert votes.predictions[0].tolist() == [0, 1, UNLABELED, 1]
