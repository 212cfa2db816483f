"""Sources in memory, synthetic data, and selections of rows."""

import pickle

import numpy as np
import pytest
from sklearn import datasets

from visual_memory import types
from visual_memory.data import selection, synthetic
from visual_memory.data.array_source import array_source
from visual_memory.data.image_source import ImageSource
from visual_memory.data.sources import open_source

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 5, 3)).astype(np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def saved(tmp_path, **arrays):
  np.savez(tmp_path / "tiny.npz", **arrays)
  return tmp_path / "tiny.npz"


def small_source():
  return array_source(
    IMAGES,
    LABELS,
    ids=[f"id{row}" for row in range(6)],
    class_names=["ant", "bee", "cat"],
    fingerprint="f",
  )


def test_npz(tmp_path):
  path = saved(
    tmp_path,
    images=IMAGES,
    labels=LABELS,
    ids=np.array(list("uvwxyz")),
    class_names=np.array(["ant", "bee", "cat"]),
  )
  source = open_source("npz", path=path)
  assert isinstance(source, ImageSource)
  assert source.class_names == ("ant", "bee", "cat")
  assert list(source.ids) == list("uvwxyz")
  assert source.labels.dtype == np.int32
  for row in range(6):
    np.testing.assert_array_equal(source[row].image, IMAGES[row])
    assert (source[row].label, source[row].id) == (LABELS[row], "uvwxyz"[row])
  assert source.fingerprint == open_source("npz", path=path).fingerprint
  other = saved(tmp_path, images=IMAGES[::-1], labels=LABELS)
  assert source.fingerprint != open_source("npz", path=other).fingerprint


def test_npz_in_the_layout_of_medmnist(tmp_path):
  path = saved(
    tmp_path,
    train_images=IMAGES[..., 0],
    train_labels=LABELS[:, None],
    test_images=IMAGES[:2],
    test_labels=LABELS[:2, None],
  )
  train = open_source("npz", path=path, split="train")
  assert train.ids[3] == "tiny/train/3"
  assert train.class_names == ("0", "1", "2")
  gray = np.repeat(IMAGES[3][..., :1], 3, axis=-1)
  np.testing.assert_array_equal(train[3].image, gray)
  assert len(open_source("npz", path=path, split="test")) == 2
  with pytest.raises(ValueError, match="'val_images'.*splits: 'test', 'train'"):
    open_source("npz", path=path, split="val")
  with pytest.raises(ValueError, match="no array 'images', 'labels'"):
    open_source("npz", path=path)


@pytest.mark.parametrize(
  "change, message",
  [
    ({"labels": LABELS[:4]}, "6 images but 4 labels"),
    ({"labels": LABELS * 0.5}, "labels must be one integer"),
    ({"labels": np.stack([LABELS] * 2, 1)}, "labels must be one integer"),
    ({"class_names": np.array(["ant"])}, "Row 1 has label 1"),
    ({"ids": np.array(list("abcabc"))}, "Duplicate id 'a'"),
    ({"ids": np.array(list("abc"))}, "6 images but 3 ids"),
    ({"ids": np.arange(6)}, "ids must be strings"),
    ({"images": IMAGES / 255}, "must be uint8.*float64"),
    ({"images": IMAGES[..., :2]}, r"\[N, H, W, 3\].*\(6, 4, 5, 2\)"),
    ({"images": IMAGES[:0], "labels": LABELS[:0]}, "no pixels"),
    ({"class_names": np.array(["a", None, {}])}, "holds Python objects"),
  ],
)
def test_npz_with_bad_content(tmp_path, change, message):
  path = saved(tmp_path, **({"images": IMAGES, "labels": LABELS} | change))
  with pytest.raises(ValueError, match=message):
    open_source("npz", path=path)


def test_npz_that_is_not_there_or_not_one(tmp_path):
  with pytest.raises(FileNotFoundError, match="none.npz"):
    open_source("npz", path=tmp_path / "none.npz")
  (tmp_path / "text.npz").write_text("hello")
  with pytest.raises(ValueError, match="text.npz.*not a .npz file"):
    open_source("npz", path=tmp_path / "text.npz")


def test_digits():
  everything = open_source("digits")
  train, test = (open_source("digits", split=s) for s in ("train", "test"))
  assert len(everything) == 1797
  assert 0.3 < len(test) / 1797 < 0.37
  assert sorted([*train.ids, *test.ids]) == list(everything.ids)
  assert everything.class_names == tuple("0123456789")
  scans = datasets.load_digits()
  np.testing.assert_array_equal(everything.labels, scans.target)
  np.testing.assert_array_equal(
    everything.images[..., 0], np.rint(scans.images * (255 / 16))
  )
  image = everything[0].image
  assert image.shape == (8, 8, 3)
  assert image.max() == 239  # 15 of 16
  assert (np.bincount(test.labels, minlength=10) > 30).all()
  with pytest.raises(ValueError, match="no split 'val'"):
    open_source("digits", split="val")


def test_synthetic_pictures_are_the_same_every_time():
  options = dict(num_images=7, num_classes=3, size=8, seed=1)
  source = open_source("synthetic", **options)
  assert isinstance(source, ImageSource)
  again = pickle.loads(pickle.dumps(source))
  assert list(source.labels) == [0, 1, 2, 0, 1, 2, 0]
  np.testing.assert_array_equal(source[5].image, again[5].image)
  assert (source[5].image != source[2].image).any()
  other = open_source("synthetic", **options | {"seed": 2})
  assert source.fingerprint != other.fingerprint
  assert (source[5].image != other[5].image).any()
  with pytest.raises(ValueError, match="positive"):
    open_source("synthetic", **options | {"size": 0})


def test_synthetic_embeddings_are_clusters_on_the_sphere(monkeypatch):
  monkeypatch.setattr(synthetic, "BLOCK_ROWS", 64)
  make = lambda **options: synthetic.synthetic_embeddings(
    **dict(num_rows=200, dim=16, num_classes=5, seed=0) | options
  )
  memory, queries = make(), make(num_rows=50, split="queries")
  lengths = np.linalg.norm(memory.embeddings, axis=1)
  np.testing.assert_allclose(lengths, 1, atol=1e-6)
  assert memory.fingerprint == queries.fingerprint
  assert not set(memory.ids) & set(queries.ids)
  nearest = (queries.embeddings @ memory.embeddings.T).argmax(1)
  assert (memory.labels[nearest] == queries.labels).mean() > 0.9
  shorter = make(num_rows=100)
  np.testing.assert_array_equal(shorter.embeddings, memory.embeddings[:100])
  assert (make(seed=1).embeddings != memory.embeddings).any()
  with pytest.raises(ValueError, match="num_rows"):
    make(num_rows=0)


def test_subset_keeps_indices_order_and_identity():
  source = small_source()
  part = selection.subset(source, [4, 0])
  assert isinstance(part, ImageSource)
  assert list(part.ids) == ["id4", "id0"]
  assert list(part.labels) == [1, 0]
  assert part.class_names == source.class_names
  np.testing.assert_array_equal(part[0].image, IMAGES[4])
  mask = selection.subset(source, np.array([1, 0, 0, 0, 1, 0], bool))
  assert list(mask.ids) == ["id0", "id4"]
  assert part.fingerprint != mask.fingerprint != source.fingerprint
  nested = selection.subset(part, [1])
  assert nested[0].id == "id0"
  assert len(selection.subset(source, [])) == 0
  for rows, message in [
    ([6], "Row 6 is not in"),
    ([-1], "Row -1 is not in"),
    ([1, 1], "selected twice"),
    (np.ones(3, bool), "mask"),
  ]:
    with pytest.raises(ValueError, match=message):
      selection.subset(source, rows)


def test_selection_by_class():
  source = small_source()
  only = selection.only_classes(source, ["bee", 2])
  assert list(only.ids) == ["id1", "id2", "id4", "id5"]
  assert list(only.labels) == [1, 2, 1, 2]
  for unknown in ("dog", 3, -1):
    with pytest.raises(ValueError, match="no class.*'ant', 'bee', 'cat'"):
      selection.only_classes(source, [unknown])


def test_a_row_keeps_its_side_of_the_tuning_split():
  source = open_source("digits")
  memory, tune = selection.split_tune(source, fraction=0.2, seed=0)
  assert 0.15 < len(tune) / len(source) < 0.25
  assert sorted([*memory.ids, *tune.ids]) == sorted(source.ids)
  backwards = selection.subset(source, np.arange(len(source))[::-2])
  _, tune_again = selection.split_tune(backwards, fraction=0.2, seed=0)
  assert set(tune_again.ids) == set(tune.ids) & set(backwards.ids)
  _, larger = selection.split_tune(source, fraction=0.4, seed=0)
  assert set(tune.ids) < set(larger.ids)
  _, other = selection.split_tune(source, fraction=0.2, seed=1)
  assert len(set(other.ids) & set(tune.ids)) < 0.5 * len(tune)
  with pytest.raises(ValueError, match="between 0 and 1"):
    selection.split_tune(source, fraction=1.0, seed=0)
  with pytest.raises(ValueError, match="nothing on one side"):
    selection.split_tune(selection.subset(source, [0]), fraction=0.5, seed=0)


def test_id_hash_is_uniform_and_fixed_for_ever():
  ids = types.as_ids([f"train/{row}.jpg" for row in range(4000)])
  values = selection.id_hash(ids, salt="a")
  counts, _ = np.histogram(values, bins=8, range=(0, 1))
  # Chi-squared with 7 degrees of freedom exceeds 30 once in 10,000.
  assert ((counts - 500) ** 2 / 500).sum() < 30
  assert abs(np.corrcoef(values, selection.id_hash(ids, salt="b"))[0, 1]) < 0.1
