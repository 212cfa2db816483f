"""New classes: what may join, and accuracies by hand."""

import memory_cases
import numpy as np
import pytest

from visual_memory import types
from visual_memory.analysis import choosing, lifelong
from visual_memory.memory.matching import match_classes
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.voting import queries, weighting


def rows(labels, class_names, prefix, seed):
  labels = np.asarray(labels)
  return types.embedded_set(
    memory_cases.random_rows(len(labels), 8, seed=seed),
    labels,
    [f"{prefix}{i}" for i in range(len(labels))],
    class_names=class_names,
    fingerprint="encoder",
  )


OLD = rows([0, 1, 0, 1, 0], ("ant", "bee", "cat"), "old", 0)


def join(added, **options):
  return lifelong.joined(
    OLD.class_names, OLD.labels, added, ids=OLD.ids, **options
  )


def test_a_known_class_is_refused():
  with pytest.raises(ValueError, match="1 of the new classes.*'bee'"):
    join(rows([0, 1], ("bee", "dog"), "new", 1))
  # A name without rows is not known: on either side.
  join(rows([0, 1], ("cat", "dog"), "new", 1))
  join(rows([1, 1], ("bee", "dog"), "new", 1))


def test_a_known_row_is_refused():
  with pytest.raises(ValueError, match="1 new rows.*'old0'"):
    join(rows([0], ("dog",), "old", 1))


def test_labels_stay_apart_unless_merged_as_published():
  added = rows([0, 1], ("dog", "eel"), "new", 1)
  memory = VisualMemory.from_embedded(OLD).add(join(added))
  assert memory.class_names == ("ant", "bee", "cat", "dog", "eel")
  assert memory.embedded().labels.tolist() == [0, 1, 0, 1, 0, 3, 4]
  merged = join(added, merged_as_published=True)
  memory = VisualMemory.from_embedded(OLD).add(merged)
  assert memory.embedded().labels.tolist() == [0, 1, 0, 1, 0, 0, 1]
  many = rows(range(4), tuple("wxyz"), "new", 1)
  with pytest.raises(ValueError, match="Label 3.*3 classes"):
    join(many, merged_as_published=True)


def test_scores_are_those_of_the_votes():
  added = rows([0] * 6, ("dog",), "new", 3)
  memory = VisualMemory.from_embedded(OLD).add(join(added))
  asked = rows([0, 1, 2, 0, 1, 2], ("ant", "bee", "dog"), "query", 4)
  class_names, labels = match_classes(memory.class_names, asked)
  near = exact.search(asked.embeddings, memory, k=4)
  setting = weighting.setting("plurality")
  choice = choosing.Choice(
    name="plurality", setting=setting, k=3, accuracy=1.0, num_queries=1
  )
  found = lifelong.scored(
    queries.held_out_queries(near, labels, asked.ids),
    memory="both", queries="all", choices={"plurality": choice},
    published={"plurality": setting}, ks=(1, 3), num_classes=len(class_names),
    seed=0,
  )  # fmt: skip
  nearest = np.mean(near.labels[:, 0] == labels)
  majority = []
  for row in near.labels[:, :3].tolist():
    order = sorted(row, key=lambda x: (-row.count(x), row.index(x)))
    majority.append(order[0])
  by_three = np.mean(majority == labels)
  assert found.nearest == pytest.approx(nearest)
  assert found.chosen["plurality"].accuracy.mean == pytest.approx(by_three)
  assert found.as_published["plurality"][1] == pytest.approx(
    max(nearest, by_three)
  )
