"""What single rows do: edits, label errors, residuals, maps and places."""

import functools

import jax
import numpy as np
import pytest
from golden import make_encoder_goldens as goldens
from sklearn.manifold import trustworthiness

import visual_memory as vm
from visual_memory.analysis import (
  composition,
  decision_maps,
  influence,
  label_errors,
  neighbor_map,
)
from visual_memory.analysis.decision_maps import contributions, grad_cam
from visual_memory.data.synthetic import synthetic_embeddings
from visual_memory.encoders import settings, vit
from visual_memory.encoders.families import dino
from visual_memory.encoders.patch_dictionary import (
  PatchDictionary,
  dense_responses,
)
from visual_memory.encoders.patch_grid import patch_grid
from visual_memory.encoders.published import params as params_lib
from visual_memory.reports import pictures
from visual_memory.types import UNLABELED, Neighbors, embedded_set

C, N, D = 5, 120, 16


@pytest.fixture(scope="module")
def clusters():
  """Five clusters on the sphere, their rows and some queries."""
  rng = np.random.default_rng(0)
  centers = rng.normal(size=(C, D))
  labels = np.arange(N) % C
  points = centers[labels] + 0.3 * rng.normal(size=(N, D))
  points /= np.linalg.norm(points, axis=1, keepdims=True)
  return vm.embedded_set(
    points, labels, [f"row/{i}" for i in range(N)],
    class_names=list("abcde"), fingerprint="f",
  )  # fmt: skip


def test_edits_of_neighbors_equal_edits_of_the_memory(clusters):
  rows, queries = clusters.take(range(100)), clusters.take(range(100, N))
  memory = vm.VisualMemory.from_embedded(rows)
  near = vm.search(queries.embeddings, memory, k=40)
  removed = [*near.ids[:, 0], *near.ids[3, :4]]
  relabeled = {row_id: 2 for row_id in near.ids[:, 7] if row_id not in removed}
  ours = influence.edited(near, removed=removed, relabeled=relabeled, k=10)
  edited = memory.remove(sorted(set(removed))).relabel(
    list(relabeled), ["c"] * len(relabeled)
  )
  truth = vm.search(queries.embeddings, edited, k=10)
  np.testing.assert_array_equal(ours.ids, truth.ids)
  np.testing.assert_array_equal(ours.labels, truth.labels)
  np.testing.assert_array_equal(ours.similarities, truth.similarities)


def test_edits_that_cannot_be_told(clusters):
  memory = vm.VisualMemory.from_embedded(clusters.take(range(100)))
  near = vm.search(clusters.embeddings[100:], memory, k=40)
  edit = lambda removed=(), relabeled=(), k=10: influence.edited(
    near, removed=removed, relabeled=dict(relabeled), k=k
  )
  with pytest.raises(ValueError, match="Query 2 has fewer than k = 40"):
    edit(removed=sorted(set(near.ids[2]) - set(near.ids[:2].ravel()))[:1], k=40)
  first = near.ids[0, 0]
  with pytest.raises(ValueError, match="both removed and relabeled"):
    edit(removed=[first], relabeled={first: 1})
  with pytest.raises(ValueError, match="too low"):
    edit(relabeled={first: -2})
  with pytest.raises(ValueError, match="k = 41"):
    edit(k=41)


def test_planted_label_errors_are_found(clusters):
  rng = np.random.default_rng(1)
  wrong = np.zeros(N, bool)
  wrong[rng.permutation(N)[:12]] = True
  labels = np.where(wrong, (clusters.labels + 1) % C, clusters.labels)
  planted = vm.embedded_set(
    clusters.embeddings, labels, clusters.ids, class_names=list("abcde"),
    fingerprint="f",
  )  # fmt: skip
  memory = vm.VisualMemory.from_embedded(planted)
  near = vm.search(planted.embeddings, memory, k=10, exclude_self=planted.ids)
  found = label_errors.rank_label_errors(
    near, planted.labels, voter="rank", k=10, num_classes=C
  )
  at = label_errors.precision_at(found, wrong, (6, 12, N))
  # Looking at random rows would find one in ten.
  assert at[6] == 1 and at[12] >= 10 / 12
  assert at[N] == pytest.approx(0.1)
  first = found.rows[:6]
  np.testing.assert_array_equal(found.suggested[:6], clusters.labels[first])
  assert (np.diff(found.margin) <= 0).all()
  assert found.num_suspects >= 10


@pytest.mark.parametrize("voter", ["plurality", "softmax"])
def test_margins_equal_a_plain_loop(voter):
  rng = np.random.default_rng(2)
  votes = rng.integers(UNLABELED, C, (50, 7)).astype(np.int32)
  labels = rng.integers(UNLABELED, C, 50)
  near = vm.types.Neighbors(
    ids=np.full(votes.shape, "x", object), indices=votes, labels=votes,
    similarities=np.sort(rng.random(votes.shape).astype(np.float32))[:, ::-1],
  )  # fmt: skip
  found = label_errors.rank_label_errors(
    near, labels, voter=voter, k=5, num_classes=C
  )
  assert sorted(found.rows) == np.flatnonzero(labels >= 0).tolist()
  for row, suggested, margin in zip(
    found.rows, found.suggested, found.margin, strict=True
  ):
    say = np.zeros(C)
    for label, s in zip(votes[row, :5], near.similarities[row], strict=False):
      nearest = float(near.similarities[row, 0])
      weight = np.exp((float(s) - nearest) / 0.07) if voter == "softmax" else 1
      say[label] += weight * (label >= 0)
    own, total = say[labels[row]], max(say.sum(), 1e-300)
    say[labels[row]] = -1
    best = say.max()
    assert margin == pytest.approx((max(best, 0) - own) / total)
    if best > 0:
      assert say[suggested] == pytest.approx(best)
    else:
      assert suggested == UNLABELED


def test_precision_at_refuses_what_is_not_there(clusters):
  memory = vm.VisualMemory.from_embedded(clusters)
  near = vm.search(clusters.embeddings, memory, k=10, exclude_self=clusters.ids)
  found = label_errors.rank_label_errors(
    near, clusters.labels, voter="rank", k=10, num_classes=C
  )
  with pytest.raises(ValueError, match="121"):
    label_errors.precision_at(found, np.zeros(N, bool), (N + 1,))
  with pytest.raises(ValueError, match="labels for the neighbors of"):
    label_errors.rank_label_errors(
      near, clusters.labels[:5], voter="rank", k=10, num_classes=C
    )


@pytest.mark.parametrize("how", ["difference", "projection"])
def test_the_residual_of_a_mixture_finds_the_other_part(clusters, how):
  """The mean of two clusters' rows: one is found first, then the other."""
  memory = vm.VisualMemory.from_embedded(clusters)
  first, second = clusters.embeddings[0::C], clusters.embeddings[1::C]
  mixed = 0.55 * first + 0.45 * second
  mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
  near = vm.search(mixed, memory, k=1)
  found = clusters.embeddings[[int(i[4:]) for i in near.ids[:, 0]]]
  left = composition.residuals(mixed, found, how=how)
  np.testing.assert_allclose(np.linalg.norm(left, axis=1), 1, atol=1e-6)
  if how == "projection":
    np.testing.assert_allclose(np.einsum("qd,qd->q", left, found), 0, atol=1e-6)
  after = vm.search(left, memory, k=1).labels[:, 0]
  assert ((near.labels[:, 0] + after) == 1).mean() > 0.9  # 0 then 1, or 1, 0.


def test_nothing_is_left_of_a_copy(clusters):
  rows = clusters.embeddings[:3]
  assert not composition.residuals(rows, rows, how="difference").any()
  with pytest.raises(ValueError, match="how 'minus'"):
    composition.residuals(rows, rows, how="minus")


@pytest.fixture(scope="module")
def rows():
  return synthetic_embeddings(num_rows=300, dim=32, num_classes=6, seed=0)


@pytest.fixture(scope="module")
def places(rows):
  return vm.map_of(vm.VisualMemory.from_embedded(rows))


def test_near_rows_lie_near_each_other(rows, places):
  assert places.shape == (300, 2) and places.dtype == np.float32
  assert trustworthiness(rows.embeddings, places, n_neighbors=10) > 0.9
  plane = neighbor_map.principal_plane(rows.embeddings)
  flat = trustworthiness(rows.embeddings, plane, n_neighbors=10)
  assert trustworthiness(rows.embeddings, places, n_neighbors=10) > flat
  # The six classes are six islands: a row's nearest dot is of its class.
  apart = np.linalg.norm(places[:, None] - places[None], axis=2)
  np.fill_diagonal(apart, np.inf)
  same = rows.labels[apart.argmin(axis=1)] == rows.labels
  assert same.mean() > 0.95


def test_the_same_rows_give_the_same_map(rows, places):
  memory = vm.VisualMemory.from_embedded(rows)
  near = neighbor_map.neighbors_of(memory)
  told = []
  again = vm.map_of(memory, near=near, progress=told.append)
  np.testing.assert_array_equal(again, places)
  assert told == sorted(told) and told[-1] == 1
  np.testing.assert_array_equal(near.indices.shape, (300, 15))
  assert not (near.ids == rows.ids[:, None]).any()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_rows_have_places_too(rows, count):
  memory = vm.VisualMemory.from_embedded(rows.take(np.arange(count)))
  places = vm.map_of(memory)
  assert places.shape == (count, 2) and np.isfinite(places).all()


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
  responses = functools.partial(dense_responses, patch=PATCH, threshold=0.2)
  found = np.asarray(jax.jit(responses)(params, pixels), np.float64)
  embeddings = np.asarray(jax.jit(apply)(params, pixels), np.float64)
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
  run = jax.jit(contributions, static_argnums=0)
  maps = np.asarray(run(apply, params, pixels, rows))
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


@pytest.mark.parametrize("family", ["dinov2", "dinov2_reg"])
def test_maps_are_those_of_torch(family, tmp_path):
  torch = pytest.importorskip("torch", reason="the live comparison needs torch")
  pytest.importorskip("transformers", reason="needs transformers")
  config = goldens.hugging_face_config(family)
  model = goldens.torch_model(family, config)
  model.save_pretrained(tmp_path)
  params = params_lib.load_tower(
    tmp_path, template=vit.shapes(config), namings=dino.IMAGE
  ).params
  pixels = goldens.pixels_of((28, 28), batch=2)
  weights = np.random.default_rng(0).normal(size=config.dim)
  weights = weights.astype(np.float32)

  seen = []
  norm = model.encoder.layer[-1].norm1
  norm.register_forward_hook(lambda *call: seen.append(call[2]))
  norm.register_forward_hook(lambda *call: call[2].retain_grad())
  output = model(torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
  (output.pooler_output @ torch.from_numpy(weights)).sum().backward()
  first = 1 + config.num_registers
  gradient, activation = seen[0].grad[:, first:], seen[0][:, first:]
  expected = torch.relu((gradient.mean(1, keepdim=True) * activation).sum(-1))
  expected = expected.detach().numpy().reshape(2, -1)
  expected -= expected.min(axis=1, keepdims=True)
  expected /= expected.max(axis=1, keepdims=True)

  found = grad_cam(
    params,
    config,
    pixels,
    readout=lambda outputs: outputs.embedding @ weights,
  )
  rows, columns = patch_grid((28, 28), config.patch_size)
  assert found.shape == (2, rows, columns)
  np.testing.assert_allclose(found.reshape(2, -1), expected, atol=1e-5)


def test_a_score_that_sees_nothing_has_an_empty_map():
  config = settings.vit("vit_ti", image_size=8, patch_size=4, dim=24, depth=1,
                   num_heads=2, mlp_dim=48)  # fmt: skip
  params = jax.jit(lambda: vit.init(config, seed=0))()
  found = grad_cam(
    params,
    config,
    np.ones((1, 8, 8, 3), np.float32),
    readout=lambda outputs: 0 * outputs.embedding[:, 0],
  )
  assert not found.any() and found.shape == (1, 2, 2)
