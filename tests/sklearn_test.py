"""The scikit-learn face, against scikit-learn's own checks and classifier."""

import os
import pickle

import numpy as np
import processes
import pytest

pytest.importorskip("sklearn")

from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from visual_memory.sklearn import VisualMemoryClassifier


@pytest.fixture(scope="module")
def digits():
  images, labels = load_digits(return_X_y=True)
  return images[:600], labels[:600]


def test_scikit_learn_is_content():
  program = (
    "import warnings; warnings.simplefilter('ignore')\n"
    "from sklearn.utils.estimator_checks import check_estimator\n"
    "import visual_memory as vm\n"
    "model = vm.sklearn.VisualMemoryClassifier()\n"
    "found = check_estimator(model, on_fail=None)\n"
    "bad = [c['check_name'] for c in found if c['status'] == 'failed']\n"
    "print(bad, len(found) > 40)"
  )
  done = processes.python(  # On one device, for its many shapes are compiled.
    "-c",
    program,
    env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"},
  )
  assert done.stdout == "[] True\n", done.stderr


def test_the_neighbors_are_those_of_scikit_learn(digits):
  X, y = digits
  ours = VisualMemoryClassifier(5, voter="plurality").fit(X[:400], y[:400])
  theirs = KNeighborsClassifier(5, metric="cosine").fit(X[:400], y[:400])
  distances, indices = ours.kneighbors(X[400:])
  expected = theirs.kneighbors(X[400:])
  np.testing.assert_array_equal(indices, expected[1])
  np.testing.assert_allclose(distances, expected[0], atol=1e-6)
  np.testing.assert_allclose(
    ours.predict_proba(X[400:]), theirs.predict_proba(X[400:]), atol=1e-6
  )
  np.testing.assert_array_equal(ours.predict(X[400:]), theirs.predict(X[400:]))
  np.testing.assert_array_equal(
    ours.kneighbors(return_distance=False),
    theirs.kneighbors(return_distance=False),
  )


def test_rows_come_and_go_as_if_they_had_never_been_there(digits):
  X, y = digits
  names = np.array([f"digit {label}" for label in y])
  known = y[:400] < 8
  grown = VisualMemoryClassifier().fit(X[:400][known], names[:400][known])
  assert "digit 9" not in grown.predict(X[400:])
  grown.partial_fit(X[:400][~known], names[:400][~known])
  assert (grown.predict(X[400:]) == names[400:]).mean() > 0.8
  whole = VisualMemoryClassifier().fit(X[:400][known], names[:400][known])
  grown.remove(range(int(known.sum()), 400))
  columns = [list(grown.classes_).index(name) for name in whole.classes_]
  np.testing.assert_array_equal(
    grown.predict_proba(X[400:])[:, columns], whole.predict_proba(X[400:])
  )
  copy = pickle.loads(pickle.dumps(grown))
  np.testing.assert_array_equal(
    copy.predict_proba(X[400:]), grown.predict_proba(X[400:])
  )


def test_images_go_through_an_encoder_and_pipelines_work(digits):
  X, y = digits
  images = np.repeat((X[:200].reshape(-1, 8, 8, 1) * 15).astype(np.uint8), 3, 3)
  model = VisualMemoryClassifier(5, encoder="pixels")
  model.fit(list(images[:150]), y[:150])
  assert (model.predict(list(images[150:])) == y[150:200]).mean() > 0.7
  pipeline = make_pipeline(StandardScaler(), VisualMemoryClassifier(5))
  assert cross_val_score(pipeline, X[:200], y[:200], cv=2).mean() > 0.7
