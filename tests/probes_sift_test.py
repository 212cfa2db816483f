"""Bags of SIFT words against OpenCV and a plain loop."""

import numpy as np
import pytest
from sklearn import svm

import visual_memory as vm
from visual_memory.data import array_source
from visual_memory.encoders import sift
from visual_memory.probes import support_vectors as svm_lib

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
