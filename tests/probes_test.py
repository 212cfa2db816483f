"""Linear probes and bags of words: against torch, scikit-learn and OpenCV."""

import functools

import jax
import numpy as np
import pytest
from sklearn import svm

import visual_memory as vm
from visual_memory import distributed
from visual_memory.data import array_source
from visual_memory.encoders import sift, tokens, vit
from visual_memory.probes import linear_probe, logistic_regression
from visual_memory.probes import support_vectors as svm_lib

N, D, C = 96, 12, 3


@pytest.fixture(scope="module")
def data():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, C, N)
  rows = rng.normal(size=(C, D))[labels] + 1.5 * rng.normal(size=(N, D))
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  return rows.astype(np.float32), labels


def train(data, **change):
  inputs = {"all": np.ones(D, bool), "half": np.arange(D) < D // 2}
  given = {
    "learning_rates": (0.01, 0.1), "num_classes": C, "num_steps": 70,
    "batch_size": 16, "seed": 0, "mesh": distributed.make_mesh(1),
  }  # fmt: skip
  return linear_probe.train_probes(*data, inputs, **(given | change)), inputs


def test_every_probe_of_the_grid_is_what_torch_trains(data):
  torch = pytest.importorskip("torch", reason="SGD is compared with torch's")
  rows, labels = data
  grid, inputs = train(data)
  key = jax.random.key(0)
  batches = np.concatenate(list(linear_probe._batches(N, 16, 70, key)))[:70]
  assert sorted(batches[:6].ravel()) == list(range(N))  # Each row once.
  start = 0.01 * np.asarray(
    jax.random.normal(jax.random.fold_in(key, 0), (D, C))
  )
  assert len(grid.probes) == 4
  for i, probe in enumerate(grid.probes):
    columns = inputs[probe.inputs]
    layer = torch.nn.Linear(int(columns.sum()), C)
    with torch.no_grad():
      layer.weight[:] = torch.tensor(start[columns].T)
      layer.bias[:] = 0
    rate = probe.learning_rate * 16 / 256
    sgd = torch.optim.SGD(layer.parameters(), lr=rate, momentum=0.9)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 70, eta_min=0)
    for batch in batches:
      scaled = torch.tensor(rows[batch][:, columns] * np.float32(D**0.5))
      loss = torch.nn.functional.cross_entropy(
        layer(scaled), torch.tensor(labels[batch])
      )
      sgd.zero_grad()
      loss.backward()
      sgd.step()
      decay.step()
    theirs = layer.weight.detach().numpy().T
    # 70 float32 steps: about 1e-6 of weights of order one.
    np.testing.assert_allclose(grid.weights[i][columns], theirs, atol=2e-6)
    np.testing.assert_allclose(
      grid.bias[i], layer.bias.detach().numpy(), atol=2e-6
    )
    assert not grid.weights[i][~columns].any()


def test_devices_and_padding_change_nothing(data):
  one, _ = train(data)
  eight, _ = train(data, mesh=distributed.make_mesh(8))
  np.testing.assert_allclose(one.weights, eight.weights, atol=2e-6)
  rows = data[0]
  predictions = one.predict(rows)
  scores = rows * np.float32(D**0.5) @ one.weights[0] + one.bias[0]
  np.testing.assert_array_equal(predictions[0], scores.argmax(axis=1))
  np.testing.assert_array_equal(one.predict(rows[:5]), predictions[:, :5])


@pytest.mark.parametrize(
  "change, problem",
  [
    ({"batch_size": 97}, "batch_size = 97"),
    ({"batch_size": 12, "mesh": 8}, "multiple of the 8"),
    ({"num_classes": 2}, "labeled 0 to 1"),
  ],
)
def test_what_cannot_be_trained(data, change, problem):
  if "mesh" in change:
    change = change | {"mesh": distributed.make_mesh(change["mesh"])}
  with pytest.raises(ValueError, match=problem):
    train(data, **change)


@pytest.mark.parametrize("strength", [0.05, 5.0])
def test_coefficients_are_scikit_learns(data, strength, monkeypatch):
  from sklearn.linear_model import LogisticRegression

  monkeypatch.setattr(logistic_regression, "_BLOCK", 40)  # 3 blocks, padded.
  rows, labels = data
  ours = logistic_regression.fit(
    rows, labels, strength=strength, num_classes=C, max_steps=300,
    tolerance=1e-6,
  )  # fmt: skip
  theirs = LogisticRegression(C=strength, tol=1e-10, max_iter=5000)
  theirs.fit(rows.astype(np.float64), labels)
  # The objective is flat around its minimum: a float32 gradient of 1e-6
  # leaves the coefficients (up to about 3) this uncertain.
  np.testing.assert_allclose(ours.weights.T, theirs.coef_, atol=5e-4)
  np.testing.assert_allclose(
    ours.bias - ours.bias.mean(),
    theirs.intercept_ - theirs.intercept_.mean(),
    atol=5e-4,
  )
  np.testing.assert_array_equal(ours.predict(rows), theirs.predict(rows))
  assert ours.gradient <= 1e-6 and ours.steps < 300
  again = logistic_regression.fit(
    rows, labels, strength=strength, num_classes=C, max_steps=300,
    tolerance=1e-6, start=ours,
  )  # fmt: skip
  assert again.steps <= 2


def test_the_search_narrows_down_on_the_peak():
  asked = []

  def score(strength):
    asked.append(strength)
    return -abs(np.log10(strength) - 0.3)

  best, scores = logistic_regression.search_strength(
    score, strengths=[10.0**e for e in range(-6, 7, 2)], refinements=4
  )
  assert len(asked) == 7 + 2 * 4 and len(scores) == len(asked)
  assert abs(np.log10(best) - 0.3) <= 1 / 8
  flat, _ = logistic_regression.search_strength(
    lambda _: 1.0, strengths=(0.1, 10.0), refinements=0
  )
  assert flat == pytest.approx(0.1)
  with pytest.raises(ValueError, match="two strengths"):
    logistic_regression.search_strength(score, strengths=[1.0], refinements=1)


def test_what_cannot_be_fitted(data):
  rows, labels = data
  fit = lambda labels, strength: logistic_regression.fit(
    rows, labels, strength=strength, num_classes=C, max_steps=1
  )
  with pytest.raises(ValueError, match="strength = 0.0"):
    fit(labels, 0.0)
  with pytest.raises(ValueError, match="Row 0 has label -1"):
    fit(np.full(N, -1), 1.0)


def test_probes_read_the_tokens_of_the_last_blocks():
  encoder = vm.load_encoder("vit_random", size=8, dim=12, depth=5, heads=2)
  wide = tokens.probe_encoder(encoder)
  pixels = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
  found = np.asarray(jax.jit(wide.apply)(wide.params, pixels))
  forward = functools.partial(
    vit.forward, config=encoder.apply.config, blocks=(1, 2, 3, 4)
  )
  outputs = jax.jit(forward)(encoder.params, pixels)
  np.testing.assert_allclose(found[:, :12], outputs.blocks[1][:, 0], atol=1e-6)
  np.testing.assert_allclose(found[:, 36:48], outputs.class_token, atol=1e-6)
  np.testing.assert_allclose(
    found[:, 48:], outputs.patch_tokens.mean(axis=1), atol=1e-6
  )
  inputs = tokens.probe_inputs(wide)
  assert {name: mask.sum() // 12 for name, mask in inputs.items()} == {
    "last block": 1, "last block, with patches": 2,
    "last 4 blocks": 4, "last 4 blocks, with patches": 5,
  }  # fmt: skip
  np.testing.assert_array_equal(np.flatnonzero(inputs["last block"])[0], 36)
  assert wide.fingerprint != encoder.fingerprint and wide.dim == found.shape[1]
  shallow = vm.load_encoder("vit_random", size=8, dim=12, depth=2, heads=2)
  for plain in (shallow, vm.load_encoder("pixels", size=8)):
    assert tokens.probe_encoder(plain) is plain
    (mask,) = tokens.probe_inputs(plain).values()
    assert mask.all() and len(mask) == plain.dim


cv2 = pytest.importorskip("cv2", reason="pip install visual_memory[perception]")


@pytest.fixture(scope="module")
def source():
  """Textured pictures, and a flat one in which there is nothing to find."""
  stream = np.random.default_rng(0)
  small = stream.integers(0, 256, (11, 12, 12, 3), dtype=np.uint8)
  images = np.repeat(np.repeat(small, 5, axis=1), 5, axis=2)
  images = np.concatenate([images, np.full((1, 60, 60, 3), 9, np.uint8)])
  return array_source.array_source(
    images,
    np.arange(12) % 2,
    ids=[f"p{n}" for n in range(12)],
    class_names=("a", "b"),
    fingerprint="textures",
  )


def test_counts_of_words_by_a_plain_loop(source):
  words = sift.vocabulary(source, num_words=7, num_features=20, seed=0)
  counts = sift.word_counts(source, words, num_features=20)
  embedded = sift.bags(counts, source, words, num_features=20)
  for row in range(len(source)):
    gray = cv2.cvtColor(source[row].image, cv2.COLOR_RGB2GRAY)
    _, features = cv2.SIFT_create(20).detectAndCompute(gray, None)
    expected = np.zeros(7)
    for feature in () if features is None else features:
      expected[np.argmin(np.linalg.norm(words - feature, axis=1))] += 1
    np.testing.assert_array_equal(counts[row], expected)
    if features is not None:
      expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(embedded.embeddings[row], expected, atol=1e-6)
  assert not embedded.embeddings[-1].any()
  again = sift.vocabulary(source, num_words=7, num_features=20, seed=0)
  np.testing.assert_array_equal(words, again)
  memory = vm.VisualMemory.from_embedded(embedded)
  assert vm.search(embedded.embeddings[:2], memory, k=1).ids[1, 0] == "p1"
  labels = embedded.labels
  kept, kept_labels = svm_lib.with_features(counts, labels)
  assert len(kept) == 11 and kept_labels.tolist() == labels[:11].tolist()
  theirs = svm.SVC().fit(counts[:11], labels[:11]).predict(counts[:11])
  assert svm_lib.svm_accuracy(
    kept, kept_labels, kept, kept_labels
  ) == pytest.approx(np.mean(theirs == labels[:11]))
  assert svm_lib.svm_accuracy(kept, 0 * kept_labels, kept, kept_labels) is None


def test_bad_requests(source):
  with pytest.raises(ValueError, match="too few for 5000 words"):
    sift.vocabulary(source, num_words=5000, num_features=20, seed=0)
