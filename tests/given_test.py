"""What every public entry does with bad ids, labels, names and rows.

One table of bad values for each kind of thing, one table of the entries that
take it; each pair must give one clear error that names the item, with nothing
changed in memory or on disk.
"""

import collections
import copy
import dataclasses
import os
import pickle

import jaxtyping
import memory_cases as cases
import numpy as np
import pytest
import store_cases

from visual_memory import types
from visual_memory.analysis import label_noise
from visual_memory.data import array_source
from visual_memory.dual_memory import streams
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.store.errors import StoreError
from visual_memory.store.store import Store
from visual_memory.voting import queries

FIRST = ["number/0", "number/1"]

# Bad values, and what the error must say.
BAD_IDS = {
  "a str": ("number/0", "must be a list; got the str 'number/0'"),
  "bytes": (b"number/0", "must be a list; got the bytes"),
  "numbers": (np.arange(2), "must be strings; id 0 is 0"),
  "a number among them": (["number/0", 7], "must be strings; id 1 is 7"),
  "None among them": (["number/0", None], "must be strings; id 1 is None"),
  "a set": ({"number/0", "number/1"}, "must have an order; got a set"),
  "a dict": (dict.fromkeys(FIRST), "must have an order; got a dict"),
  "a table": (np.array([FIRST]), r"must be a list or \[N\]; got \(1, 2\)"),
  "one alone": (np.array("number/0"), r"must be a list or \[N\]; got \(\)"),
  "a number": (3, "must be a list; got a int"),
  "None": (None, "must be a list; got a NoneType|which rows|give ids"),
  "masked": (
    np.ma.array(FIRST, mask=[False, True]), "entry 1 is masked",
  ),
}  # fmt: skip
BAD_LABELS = {
  "a str": ("ab", "must be a list; got the str 'ab'"),
  "floats": (np.array([0.0, 1.0]), "0.0 is neither|must be integers"),
  "a float": ([0, 1.5], "1.5 is neither|must be integers"),
  "bools": ([True, False], "True is neither|must be integers"),
  "None": ([0, None], "None is neither|must be integers"),
  "a column": (np.zeros((2, 1), int), r"got \(2, 1\)"),
  "too large": ([0, 5], "5 is out of range|has label 5"),
  "too small": ([-2, 0], "-2 is out of range|has label -2"),
  "too few": ([0], "2 ids but 1 label|2 embeddings, 1 label"),
  "a set": ({0, 1}, "must have an order; got a set"),
  "masked": (np.ma.array([0, 1], mask=[True, False]), "entry 0 is masked"),
}
BAD_NAMES = {
  "repeated": (
    ["crane", "crane", "dog"],
    "'crane' twice, for class 0 and class 1",
  ),
  "a str": ("ant", "must be a list; got the str 'ant'"),
  "a number": (["ant", 3], "must be strings; id 1 is 3"),
  "a set": ({"ant", "bee"}, "must have an order; got a set"),
}
BAD_EMBEDDINGS = {
  "not unit": (np.full((2, 8), 2.0), "row 0 .* has length 5.657"),
  "NaN": (np.full((2, 8), np.nan), "row 0 .* holds NaN"),
  "complex": (np.zeros((2, 8), complex), "real numbers; got complex"),
  "text": (np.full((2, 8), "1"), "real numbers"),
  "one row": (np.zeros(8), r"must be \[N, D\]; got \(8,\)"),
  "masked": (np.ma.masked_all((2, 8)), "entry 0 is masked"),
}

Held = collections.namedtuple("Held", "memory store")


def good():
  """Two rows that could be added."""
  return store_cases.numbered(50, 52)


def with_field(name):
  """A set of which one field is bad, however it came about."""
  return lambda value: dataclasses.replace(good(), **{name: value})


def set_of(**fields):
  """`embedded_set` of two rows with one field replaced."""
  rows = good()
  given = {f.name: getattr(rows, f.name) for f in dataclasses.fields(rows)}
  given.update(fields)
  return types.embedded_set(
    given["embeddings"],
    given["labels"],
    given["ids"],
    class_names=given["class_names"],
    fingerprint=given["fingerprint"],
  )


def entries_of_sets(field):
  """The entries that take rows, one field of which is bad."""
  bad = with_field(field)
  return {
    "embedded_set": lambda h, v: set_of(**{field: v}),
    "from_embedded": lambda h, v: VisualMemory.from_embedded(bad(v)),
    "memory.add": lambda h, v: h.memory.add(bad(v), donate=True),
    "Store.create": lambda h, v: Store.create(h.store.path + "2", bad(v)),
    "store.add": lambda h, v: h.store.add(bad(v)),
  }


def held_out(h, *, labels=(0, 1), ids=FIRST):
  """Two held-out queries."""
  near = exact.search(good().embeddings, h.memory, k=1)
  return queries.held_out_queries(near, labels, ids)


def corrupted(labels):
  """Wrong labels on purpose, of two rows."""
  noise = label_noise.pairwise_noise(2)
  return label_noise.corruption(labels, FIRST, noise, seed=0)


def streamed(labels):
  """Two guesses, given to a memory that learns from them; it is not reached."""
  return streams.stream(
    None, good().embeddings, labels, [0.1, 0.2], ids=FIRST, fixed=None,
    projection=None, sharpness=1.0, order=streams.ORDERS[0],
    form=streams.FORMS[0], mesh=None,
  )  # fmt: skip


TAKE_IDS = {
  **entries_of_sets("ids"),
  "memory.remove": lambda h, v: h.memory.remove(v, donate=True),
  "memory.relabel": lambda h, v: h.memory.relabel(v, [0, 0], donate=True),
  "memory.subset": lambda h, v: h.memory.subset(v),
  "search": lambda h, v: exact.search(
    good().embeddings, h.memory, k=1, exclude_self=v
  ),
  "store.remove": lambda h, v: h.store.remove(v),
  "store.relabel": lambda h, v: h.store.relabel(v, [0, 0]),
  "store.annotate": lambda h, v: h.store.annotate(v, {"a": 1}),
  "store.metadata": lambda h, v: h.store.metadata(v),
}
TAKE_LABELS = {
  **entries_of_sets("labels"),
  "memory.relabel": lambda h, v: h.memory.relabel(FIRST, v, donate=True),
  "store.relabel": lambda h, v: h.store.relabel(FIRST, v),
}
TAKE_NAMES = entries_of_sets("class_names")
TAKE_EMBEDDINGS = entries_of_sets("embeddings")
ALONE = {
  "twice": [
    (lambda h: h.memory.remove(FIRST + FIRST), "Duplicate id 'number/0'"),
    (lambda h: h.store.remove(FIRST + FIRST), "Duplicate id 'number/0'"),
    (lambda h: h.store.annotate(FIRST + FIRST, {}), "Duplicate id 'number/0'"),
  ],
  "absent": [
    (lambda h: h.memory.remove(["no"]), "1 of 1 ids are not in the memory"),
    (lambda h: h.memory.subset(["no"]), "'no'"),
    (lambda h: h.store.remove(["no"]), "1 of 1 ids are not in the store"),
    (lambda h: h.store.metadata(["no"]), "'no'"),
  ],
  "there already": [
    (lambda h: h.memory.add(store_cases.numbered(0, 1)), "already in the mem"),
    (lambda h: h.store.add(store_cases.numbered(0, 1)), "already in the sto"),
  ],
  "sources and questions": [
    (
      lambda h: array_source.array_source(
        np.zeros((2, 4, 4), np.uint8),
        np.array([0, 1]),
        ids=["a", "b"],
        class_names=["crane", "crane"],
        fingerprint="x",
      ),
      "'crane' twice",
    ),
    (lambda h: held_out(h, labels=[0.0, 1.9]), "must be integers"),
    (lambda h: held_out(h, labels=[[0], [1]]), r"got \(2, 1\)"),
    (lambda h: held_out(h, ids=[0, 1]), "must be strings"),
    (lambda h: corrupted([0.2, 0.9]), "must be integers; got float64"),
    (lambda h: corrupted([[0], [1]]), r"got \(2, 1\)"),
    (lambda h: streamed([0.2, 0.9]), "must be integers; got float64"),
    (lambda h: streamed(np.ma.array([0, 1], mask=[0, 1])), "1 is masked"),
  ],
  "no set": [
    (lambda h: h.memory.add(np.eye(8)), "EmbeddedSet, not a ndarray"),
    (lambda h: h.store.add(np.eye(8)), "EmbeddedSet, not a ndarray"),
    (lambda h: h.store.add(h.memory), "EmbeddedSet, not a VisualMemory"),
    (lambda h: VisualMemory.from_embedded(None), "not a NoneType"),
    (lambda h: Store.create(h.store.path + "2", None), "not a NoneType"),
  ],
  "classes": [
    (lambda h: h.memory.ids_with_label("yak"), "No class 'yak'"),
    (lambda h: h.memory.ids_with_label(1.0), "1.0 is neither"),
    (lambda h: h.store.select(label="yak"), "No class 'yak'"),
    (lambda h: h.store.select(label=True), "True is neither"),
    (lambda h: h.store.remove(label=1.5), "1.5 is neither"),
    (lambda h: h.store.rename_class("yak", "gnu"), "No class 'yak'"),
    (lambda h: h.store.rename_class(-1, "gnu"), "by a str here; got -1"),
    (lambda h: h.store.rename_class("ant", 3), "must be strings"),
    (lambda h: h.store.rename_class("ant", "bee"), "'bee' already"),
    (lambda h: h.store.merge_classes("ant", "bee"), "got the str 'ant'"),
    (lambda h: h.store.merge_classes([-1], "bee"), "by a str here; got -1"),
    (lambda h: h.store.merge_classes(["ant"], 3), "must be strings"),
  ],
  "metadata": [
    (lambda h: h.store.add(good(), metadata={1: 2}), "the key 1"),
    (lambda h: h.store.add(good(), metadata=[{}]), "2 rows but 1"),
    (lambda h: h.store.add(good(), metadata="ab"), "got the str 'ab'"),
    (lambda h: h.store.add(good(), metadata=[{}, 3]), "row 1 is 3"),
    (lambda h: h.store.annotate(FIRST, {"a": {"b": {2: 3}}}), "the key 2"),
    (lambda h: h.store.annotate(FIRST, {"a": float("nan")}), "row 0 cannot"),
    (lambda h: h.store.describe({"a": object()}), "description cannot"),
    (lambda h: h.store.describe([1]), "description is .1.: it must be"),
    (lambda h: h.store.select(where="Ada"), "where is 'Ada'"),
    (
      lambda h: Store.create(h.store.path + "2", good(), attributes={"a": {1}}),
      "description cannot",
    ),
  ],
}


@pytest.fixture(autouse=True)
def as_users_run_it():
  """Without the checks of annotations, which would hide the product's own."""
  jaxtyping.config.update("jaxtyping_disable", True)
  yield
  jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def held(tmp_path_factory):
  """A memory and a store of the same forty rows."""
  path = tmp_path_factory.mktemp("given") / "store"
  rows = store_cases.numbered(0, 40)
  memory = VisualMemory.from_embedded(rows)
  return Held(memory, store_cases.small_store(path))


def files_of(held):
  """Every file at and beside the store, and its bytes."""
  top = os.path.dirname(held.store.path)
  paths = [
    os.path.join(folder, name)
    for folder, _, names in os.walk(top)
    for name in names
    if name not in ("lock", "gate")
  ]
  return {path: open(path, "rb").read() for path in paths}


def assert_refused(held, call, says):
  """Asserts one clear error, and that all is as it was."""
  before, memory = files_of(held), held.memory.embedded()
  with pytest.raises((ValueError, KeyError, TypeError), match=says) as caught:
    call()
  assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
  assert files_of(held) == before
  after = held.memory.embedded()
  np.testing.assert_array_equal(after.embeddings, memory.embeddings)
  np.testing.assert_array_equal(after.labels, memory.labels)
  assert list(after.ids) == list(memory.ids)
  assert after.class_names == memory.class_names == held.store.class_names


@pytest.mark.parametrize(
  "entries, values",
  [
    (TAKE_IDS, BAD_IDS),
    (TAKE_LABELS, BAD_LABELS),
    (TAKE_NAMES, BAD_NAMES),
    (TAKE_EMBEDDINGS, BAD_EMBEDDINGS),
  ],
  ids=["ids", "labels", "class names", "embeddings"],
)
def test_every_entry_refuses_bad_values(held, entries, values):
  for name, call in entries.items():
    for kind, (value, says) in values.items():
      if kind == "None" and name in ("search", "store.remove"):
        continue  # There it means that none is given.
      try:
        assert_refused(held, lambda c=call, v=value: c(held, v), says)
      except BaseException as error:
        error.add_note(f"{name} with {kind}")
        raise


@pytest.mark.parametrize("kind", ALONE)
def test_what_only_some_entries_take_is_refused(held, kind):
  for call, says in ALONE[kind]:
    assert_refused(held, lambda c=call: c(held), says)


def test_ids_and_labels_may_come_in_any_list(held):
  ids = ["number/3", "number/4"]
  for given in (ids, tuple(ids), np.array(ids), np.array(ids, object)):
    assert len(held.memory.remove(given)) == 38
    assert len(held.store.metadata(given)) == 2
  masked = np.ma.array(ids, mask=False)
  assert len(held.memory.subset(masked)) == 2
  for labels in ([1, 2], np.array([1, 2], np.uint8), ("bee", 2)):
    edited = held.memory.relabel(ids, labels).embedded()
    assert edited.labels[[3, 4]].tolist() == [1, 2]


def test_an_unknown_name_is_a_new_class_in_both(held, tmp_path):
  rows = store_cases.numbered(0, 10)
  memory = VisualMemory.from_embedded(rows)
  store = Store.create(tmp_path / "store", rows)
  more = store_cases.rows_of(["x"], [1], class_names=("ant", "lynx"))
  store.relabel(["number/1", "number/2"], ["wolf", 0])
  store.add(more)
  memory = memory.relabel(["number/1", "number/2"], ["wolf", 0]).add(more)
  held, kept = memory.embedded(), store.embedded()
  assert held.class_names == kept.class_names
  assert held.class_names == (*cases.CLASS_NAMES, "wolf", "lynx")
  np.testing.assert_array_equal(held.labels, kept.labels)
  assert held.labels[[1, 2, 10]].tolist() == [5, 0, 6]


def test_relabelling_a_row_never_moves_another_class(tmp_path):
  store = Store.create(tmp_path / "store", store_cases.numbered(0, 10))
  before = store.labels.tolist()
  store.relabel(["number/9"], ["eel"])
  store.relabel(["number/9"], ["gnu"])
  assert store.labels.tolist() == [*before[:9], 5]
  store.verify()


def test_an_empty_list_is_nothing_to_do(held, tmp_path):
  rows = store_cases.numbered(0, 10)
  memory = VisualMemory.from_embedded(rows)
  store = Store.create(tmp_path / "store", rows)
  for edit in (
    lambda: store.remove([]),
    lambda: store.relabel([], []),
    lambda: store.annotate([], []),
    lambda: store.merge_classes([], "ant"),
    lambda: store.add(store_cases.numbered(0, 0)),
  ):
    assert edit() is None
  assert store.contents.generation == 1 and not store.receipts()
  for edited in (memory.remove([]), memory.relabel([], [])):
    assert list(edited.ids) == list(rows.ids)
  assert len(memory.subset([])) == 0


def test_stores_and_receipts_are_short_and_travel(tmp_path):
  store = store_cases.small_store(tmp_path / "store")
  receipt = store.remove(["number/3"])
  assert repr(store) == (
    f"Store({store.path!r}: 39 rows, 5 classes, dimension 8, encoder"
    " 'encoder', generation 2)"
  )
  assert len(repr(store.contents)) < 150
  assert "1 removed" in repr(receipt) and len(repr(receipt)) < 150
  page = receipt._repr_html_()
  assert receipt.digest in page and "1 rows" in page and "<script" not in page
  for copied in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
    assert copied is not store and copied.path == store.path
    assert list(copied.ids) == list(store.ids)
    copied.add(store_cases.numbered(100, 101))
    copied.remove(["number/100"])
  for copied in (pickle.loads(pickle.dumps(receipt)), copy.deepcopy(receipt)):
    assert copied == receipt and copied.digest == receipt.digest
  missing = Store.open(store.path)
  os.rename(store.path, store.path + "2")
  assert "no store at" in repr(missing)
  with pytest.raises(StoreError, match="no store at"):
    len(missing)
