"""Reports: honest numbers, what explains a vote, tables."""

import base64
import csv
import dataclasses
import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from reports_cases import (
  NAMES,
  make_gallery,
  make_neighbors,
  make_results,
)

from visual_memory.reports import gallery, tables
from visual_memory.reports import results as results_lib
from visual_memory.retrieval.neighbor_files import neighbors_fingerprint


def test_accuracy_counts_absent_classes_and_leaves_unlabeled_out():
  found = make_results()
  # Five labeled queries. plurality: 3 right at k=1 (0, 1, 2), 3 at k=3.
  assert found.accuracy == {
    "plurality": {1: 3 / 5, 3: 3 / 5},
    "rank": {1: 3 / 5, 3: 4 / 5},
  }
  assert found.chosen_accuracy == 4 / 5
  assert (found.num_unlabeled, found.num_absent) == (1, 1)
  assert found.best() == ("rank", 3, 4 / 5)
  assert make_results(voter="plurality", k=1).best() == ("rank", 3, 4 / 5)


def test_confusion_agrees_with_a_loop():
  rng = np.random.default_rng(1)
  labels = rng.integers(-1, 5, 300)
  predictions = rng.integers(0, 5, (1, 300))
  found = make_results(
    predictions={"rank": predictions},
    labels=labels,
    ks=(3,),
    class_names=tuple("abcde"),
  )
  expected = np.zeros((5, 5), int)
  for label, prediction in zip(labels, predictions[0], strict=True):
    if label >= 0:
      expected[label, prediction] += 1
  matrix = found.confusion()
  np.testing.assert_array_equal(matrix, expected)
  right, counts = found.per_class()
  np.testing.assert_array_equal(counts, expected.sum(axis=1))
  np.testing.assert_array_equal(right, np.diag(expected))
  wrong = [
    (-expected[i, j], i, j) for i in range(5) for j in range(5) if i != j
  ]
  assert results_lib.most_confused(found, limit=4) == [
    ("abcde"[i], "abcde"[j], -count) for count, i, j in sorted(wrong)[:4]
  ]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"ks": (1,)}, r"shape \(2, 6\).*\(1, 6\)"),
    ({"voter": "best"}, "'best' at k=3.*plurality"),
    ({"k": 2}, "'rank' at k=2"),
    ({"labels": np.full(6, -1)}, "No query has a label"),
    ({"labels": np.full(6, 3)}, "3 to 3.*3 class names"),
    ({"class_names": ("one",)}, "predicts classes 0 to 1.*1 class names"),
  ],
)
def test_results_that_do_not_fit_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    make_results(**changes)


def test_fingerprint_is_what_its_docstring_says():
  near = make_neighbors()
  near.ids[0, 0] = "é"
  lines = [json.dumps(list(row)).replace(", ", ",") for row in near.ids]
  text = "".join(line + "\n" for line in lines)
  assert "\\u00e9" in text
  expected = hashlib.sha256(text.encode("ascii")).hexdigest()
  assert neighbors_fingerprint(near) == expected


def test_fingerprint_sees_order_and_boundaries():
  def fingerprint(ids):
    near = make_neighbors(len(ids), len(ids[0]))
    near = dataclasses.replace(near, ids=np.array(ids, object))
    return neighbors_fingerprint(near)

  variants = [
    [["a", "b"], ["c", "d"]],
    [["b", "a"], ["c", "d"]],
    [["c", "d"], ["a", "b"]],
    [["a", "b", "c", "d"]],
    [["a"], ["b"], ["c"], ["d"]],
    [['a","b', "c"], ["d", ""]],
  ]
  assert len({fingerprint(ids) for ids in variants}) == len(variants)


def test_gallery_explains_the_vote():
  item = make_gallery()[1]
  near = make_neighbors(4)
  assert (item.label, item.prediction, item.right) == ("dog", "cat", False)
  assert [n.id for n in item.neighbors] == list(near.ids[1])
  assert [n.weight for n in item.neighbors] == [0.5, 0.25, None]
  assert [n.agrees for n in item.neighbors] == list(near.labels[1] == 1)
  say = {}
  for label, weight in zip(near.labels[1, :2], (0.5, 0.25), strict=True):
    say[NAMES[label]] = say.get(NAMES[label], 0) + weight / 0.75
  assert dict(item.votes) == pytest.approx(say)


def test_chosen_queries_are_spread_and_labelled():
  labels = np.array([-1] + [0] * 99)
  predictions = np.array([0, 1] * 50)
  shown = gallery.choose_queries(
    labels, predictions, num_right=5, num_wrong=1000
  )
  wrong, right = shown[:50], shown[50:]
  np.testing.assert_array_equal(wrong, np.arange(1, 100, 2))
  assert len(right) == 5 and right[0] == 2 and right[-1] > 70
  assert (labels[right] == predictions[right]).all()


def test_thumbnails_keep_tiny_images_exactly_and_shrink_others():
  def decode(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))

  image = np.random.default_rng(0).integers(0, 256, (8, 5, 3), np.uint8)
  uri, tiny = gallery.data_uri(image)
  assert tiny and uri.startswith("data:image/png")
  np.testing.assert_array_equal(np.asarray(decode(uri)), image)
  uri, tiny = gallery.data_uri(np.zeros((300, 600, 3), np.uint8))
  assert not tiny and decode(uri).size == (96, 48)


def test_a_table_in_markdown_breaks_nowhere():
  table = tables.Table(header=("a|b", "c"), rows=(("1", "2\n3"), ("\\", "")))
  assert table.markdown() == (
    "| a\\|b | c |\n| --- | ---: |\n| 1 | 2 3 |\n| \\\\ |  |\n"
  )


def test_sweep_table_unites_the_keys():
  table = tables.sweep_table(
    [{"alpha": 1.0, "top1": 0.5}, {"alpha": 2, "note": 'a "b", c'}],
    fractions=("top1",),
  )
  assert table.header == ("alpha", "top1 (%)", "note")
  assert list(csv.reader(io.StringIO(table.csv())))[1:] == [
    ["1", "50.0", ""],
    ["2", "", 'a "b", c'],
  ]
