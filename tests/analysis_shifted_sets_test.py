"""ImageNet's test sets in their published layouts, in miniature."""

import json

import memory_cases
import numpy as np
import pytest
from PIL import Image

from configs import shifted_sets as shifted_config
from experiments import launch
from visual_memory.analysis import shifted_sets
from visual_memory.analysis.choosing import Choice
from visual_memory.data import relabeling, tfds_source
from visual_memory.data.folder import folder
from visual_memory.types import UNLABELED, Neighbors
from visual_memory.voting import compat, metrics, weighting

SYNSETS = [f"n{number:08d}" for number in range(1, 13)]


def save_image(path, shade):
  path.parent.mkdir(parents=True, exist_ok=True)
  pixels = np.full((8, 8, 3), shade, np.uint8)
  pixels[:, :4] = 255 - shade // 2
  Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
  """A data directory with every layout: 12 classes, A and R have some."""
  root = tmp_path_factory.mktemp("imagenet")
  for number, synset in enumerate(SYNSETS):
    for copy in range(3):
      name = f"imagenet/train/{synset}/{synset}_{copy}.JPEG"
      save_image(root / name, 20 * number + copy)
    name = f"imagenet/val/{synset}/ILSVRC2012_val_{12 - number:08d}.JPEG"
    save_image(root / name, 20 * number + 1)
    v2 = f"imagenetv2-matched-frequency-format-val/{number}/0a{number}.jpeg"
    save_image(root / v2, 20 * number + 2)
    sketch = f"sketch/{synset}/sketch_{number}.JPEG"
    save_image(root / sketch, 20 * number)
    if number % 3 == 0:
      save_image(root / f"imagenet-a/{synset}/0.0_a.jpg", 20 * number + 7)
      save_image(root / f"imagenet-r/{synset}/art_0.jpg", 20 * number + 9)
  real = [[11 - number, 0] if number % 4 else [] for number in range(12)]
  (root / "real.json").write_text(json.dumps(real))
  return root


def test_numbered_folders_are_in_order_of_the_synsets(published):
  plain = folder(published / "imagenetv2-matched-frequency-format-val")
  assert plain.class_names[:3] == ("0", "1", "10")
  source = relabeling.numbered(plain, class_names=SYNSETS)
  for row in range(len(source)):
    number = int(source.ids[row].split("/")[0])
    assert source.labels[row] == number == source[row].label
  assert source.class_names == tuple(SYNSETS)
  assert source.fingerprint != plain.fingerprint
  with pytest.raises(ValueError, match="'10' is not a number from 0 to 9"):
    relabeling.numbered(plain, class_names=SYNSETS[:10])
  with pytest.raises(ValueError, match="'n00000001' is not a number"):
    relabeling.numbered(folder(published / "sketch"), class_names=SYNSETS)


@pytest.mark.parametrize("flat", [False, True])
def test_real_labels_go_by_the_number_of_the_image(published, flat):
  ids = folder(published / "imagenet", split="val").ids
  if flat:
    ids = [name.rpartition("/")[2] for name in ids]
  sets = relabeling.real_labels(published / "real.json", ids, num_classes=12)
  # Class c has image number 12 - c, whose first label is c again.
  for label, found in enumerate(sets):
    position = 11 - label
    assert found == ([label, 0] if position % 4 else [])
  with pytest.raises(ValueError, match="'x.jpg' is none of the 12"):
    relabeling.real_labels(published / "real.json", ["x.jpg"], num_classes=12)
  with pytest.raises(ValueError, match="has label 10; labels go from 0 to 9"):
    relabeling.real_labels(published / "real.json", ids, num_classes=10)


class Records(list):
  """Records as TFDS hands them out."""

  def __getitems__(self, rows):
    return [self[row] for row in rows]


def test_tfds_lists_real_labels_with_its_images():
  lists = [[q % 7, 3][: q % 3] for q in range(600)]
  source = tfds_source.TfdsSource(
    records=Records({"real_label": np.array(x, np.int64)} for x in lists),
    name="imagenet2012_real", split="validation", image_feature="image",
    label_feature="original_label", id_feature="file_name", class_names=(),
    fingerprint="f",
  )  # fmt: skip
  assert relabeling.tfds_label_sets(source) == lists
  with pytest.raises(ValueError, match="no feature 'x'; it has 'real_label'"):
    relabeling.tfds_label_sets(source, feature="x")


def test_multi_label_accuracy_equals_a_loop():
  rng = np.random.default_rng(0)
  lists = [rng.choice(9, rng.integers(0, 4), False).tolist() for _ in range(80)]
  predictions = rng.integers(-1, 9, (2, 3, 80))
  sets = metrics.label_sets(lists)
  expected = [
    [sum(p in x for p, x in zip(row, lists, strict=True)) for row in rows]
    for rows in predictions.tolist()
  ]
  np.testing.assert_array_equal(
    metrics.in_sets(predictions, sets).sum(axis=-1), expected
  )
  assert sets.num_empty == sum(not x for x in lists) > 0
  assert sets.total == 80 - sets.num_empty
  with pytest.raises(ValueError, match="79 predictions for 80"):
    metrics.in_sets(predictions[..., :79], sets)
  with pytest.raises(ValueError, match="there is -2"):
    metrics.label_sets([[-2]])


def random_near(num_queries, k, num_classes):
  rng = np.random.default_rng(1)
  labels = rng.integers(0, num_classes, (num_queries, k)).astype(np.int32)
  return Neighbors(
    ids=labels.astype(str).astype(object),
    indices=labels,
    labels=labels,
    similarities=-np.sort(-rng.random((num_queries, k)), axis=1).astype(
      np.float32
    ),
  )


def score(near, truth, **options):
  choice = Choice(
    name="rank", setting=weighting.setting("rank"), k=5, accuracy=1.0,
    num_queries=1,
  )  # fmt: skip
  return shifted_sets.score_set(
    near, truth, protocol="all classes", choices={"rank": choice},
    ks=(1, 5, 12), num_competing=6, num_classes=6, seed=0, **options,
  )  # fmt: skip


def test_real_is_scored_as_published_too():
  near = random_near(70, 12, 6)
  lists = [[q % 6, 2] if q % 5 else [] for q in range(70)]
  found = score(near, metrics.label_sets(lists), min_max=True)
  distances = 1 - near.similarities[:, :10].astype(np.float64)
  low, high = distances.min(), distances.max()
  votes = compat.predict(
    near.labels[:, :10], (distances - low) / (high - low), voter="softmax",
    ks=(1, 5), num_classes=6,
  )  # fmt: skip
  known = [q for q in range(70) if lists[q]]
  right = [np.mean([row[q] in lists[q] for q in known]) for row in votes]
  k, accuracy = found.as_published["softmax"]
  assert accuracy == pytest.approx(max(right)) and k in (1, 5)
  nearest = np.mean([near.labels[q, 0] in lists[q] for q in known])
  assert found.nearest == pytest.approx(nearest)


def test_other_classes_lose_their_vote_and_keep_their_rank():
  near = random_near(30, 12, 6)
  own = shifted_sets.only_classes(near, np.array([2, 4]))
  kept = np.isin(near.labels, [2, 4])
  np.testing.assert_array_equal(own.labels[kept], near.labels[kept])
  assert (own.labels[~kept] == UNLABELED).all()
  labels = np.resize([2, 4], 30)
  found = score(own, shifted_sets.truth_of(labels))
  assert (
    found.chosen["rank"].mean
    > score(near, shifted_sets.truth_of(labels)).chosen["rank"].mean
  )
  unheard = (~kept[:, :5]).all(axis=1).sum()
  assert found.num_unanswered == unheard > 0
  with pytest.raises(ValueError, match="No query of this set"):
    score(near, metrics.label_sets([[]] * 30))


def test_all_published_layouts_run_end_to_end(published, tmp_path, monkeypatch):
  monkeypatch.chdir(published)
  config = shifted_config.get_config("imagenet")
  config.encoder.name = "pixels"
  config.encoder.options.size = 8
  config.voting.ks = (1, 3)
  config.voting.tune_fraction = 0.5
  launch.run(config, tmp_path / "run")
  report = json.loads((tmp_path / "run" / "report.json").read_text())
  sets = report["sets"]
  assert set(sets) == {"a", "r", "sketch", "v2", "real"}
  for name, values in sets.items():
    protocols = [item["protocol"] for item in values["protocols"]]
    assert protocols[0] == "all classes"
    assert len(protocols) == (3 if name in "ar" else 1)
  for name in ("sketch", "v2"):  # Nearly the rows themselves.
    assert sets[name]["protocols"][0]["nearest"] > 0.7
  assert sets["a"]["protocols"][2]["competing_classes"] == 4
  assert sets["real"]["counts"]["without a label, dropped"] == 3


def test_the_memory_of_own_classes_is_exact():
  rows = memory_cases.random_rows(40, 6)
  memory = memory_cases.memory_of(rows)
  from visual_memory.retrieval import exact

  queries = memory_cases.random_rows(10, 6, seed=5)
  everything = exact.search(queries, memory, k=40)
  embedded = memory.embedded()
  own = embedded.take(np.isin(embedded.labels, [1, 3]))
  near = exact.search(queries, memory.subset(list(own.ids)), k=16)
  for query in range(10):
    kept = np.isin(everything.labels[query], [1, 3])
    assert near.ids[query].tolist() == everything.ids[query, kept].tolist()
