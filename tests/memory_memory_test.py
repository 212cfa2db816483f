"""The editable memory: what it holds, its edits, and what removal leaves."""

import copy
import dataclasses

import hypothesis
import jax
import jax.numpy as jnp
import memory_cases as cases
import numpy as np
import pytest
from hypothesis import strategies as st

from visual_memory import distributed, types
from visual_memory.memory import buffers, coarse
from visual_memory.memory import rows as rows_lib
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact

DIM = 16
BASE = cases.random_rows(700, DIM)


def assert_holds(memory, rows, ids):
  """Asserts that a memory holds these rows, in this order of insertion."""
  held = memory.embedded()
  np.testing.assert_array_equal(held.embeddings, rows)
  assert list(held.ids) == list(ids)
  assert len(memory) == len(rows) == memory.table.num_rows


def assert_coarse_copy_is_whole(memory):
  """Asserts that the coarse copy is what the embeddings say, slot by slot."""
  if memory.rows.coarse is None:
    return
  anew = coarse.coarsen(
    memory.rows.embeddings, memory.rows.coarse.scale, memory.rows.precision
  )
  kept = memory.rows.coarse
  np.testing.assert_array_equal(
    np.asarray(kept.values, np.float32), np.asarray(anew.values, np.float32)
  )
  # Another program may fuse a multiplication and an addition into one rounding.
  np.testing.assert_allclose(kept.residuals, anew.residuals, rtol=1e-4)


# What is put in


@pytest.mark.parametrize("precision", coarse.PRECISIONS[1:])
def test_a_coarse_copy_is_made_in_little_memory(precision, mesh):
  shape = (1 << 18, 256)
  rows = jax.ShapeDtypeStruct(
    shape, np.float32, sharding=distributed.row_sharding(mesh)
  )
  made = rows_lib._coarse_copy.lower(rows, mesh=mesh, precision=precision)
  needed = made.compile().memory_analysis().temp_size_in_bytes
  assert needed < 4 * np.prod(shape) / mesh.size / 2


@pytest.mark.parametrize("precision", coarse.PRECISIONS)
def test_holds_what_it_was_given(precision, mesh):
  embedded = cases.embedded_rows(BASE[:400])
  memory = VisualMemory.from_embedded(embedded, mesh=mesh, precision=precision)
  assert_holds(memory, BASE[:400], embedded.ids)
  np.testing.assert_array_equal(memory.embedded().labels, embedded.labels)
  assert (len(memory), memory.dim) == (400, DIM)
  assert memory.rows.precision == precision
  assert memory.capacity >= 400 and memory.capacity % mesh.size == 0
  assert memory.rows.embeddings.sharding == distributed.row_sharding(mesh)
  assert int(memory.rows.mask.sum()) == 400
  assert_coarse_copy_is_whole(memory)


def test_may_begin_empty(mesh):
  memory = cases.memory_of(np.zeros((0, DIM)), mesh=mesh)
  memory = memory.add(cases.embedded_rows(BASE[:5]))
  assert_holds(memory, BASE[:5], [f"r{i}" for i in range(5)])


def test_capacity_is_reserved(mesh):
  memory = cases.memory_of(BASE[:10], mesh=mesh, capacity=600)
  grown = memory.add(cases.embedded_rows(BASE[10:600], first_id=10))
  assert grown.capacity == memory.capacity >= 600
  with pytest.raises(ValueError, match="capacity 9 cannot hold 10 rows"):
    cases.memory_of(BASE[:10], mesh=mesh, capacity=9)


def test_coarse_copies_bound_their_own_error():
  rows = np.concatenate([3 * BASE[:50], np.zeros((2, DIM), np.float32)])
  held = jnp.asarray(BASE)
  coarsen = jax.jit(coarse.coarsen, static_argnums=2)
  for precision in ("bfloat16", "int8"):
    scale = coarse.scale_for(held, precision)  # Too small: rows are clipped.
    copy = coarsen(rows, scale, precision)
    values = np.asarray(copy.values).astype(np.float64) * np.float64(scale)
    error = np.linalg.norm(rows - values, axis=1)
    assert (error <= np.asarray(copy.residuals)).all(), precision
    assert not np.asarray(copy.values)[-2:].any()
  with pytest.raises(ValueError, match="'int4': choose one of"):
    coarse.scale_for(held, "int4")
  with pytest.raises(ValueError, match="overflow at dimension 40000"):
    coarse.scale_for(jnp.zeros((1, 40000)), "int8")


@pytest.mark.parametrize("large_bytes", [0, 1 << 30])
def test_rows_are_reused_by_edits_where_they_are_large(
  large_bytes, mesh, monkeypatch
):
  monkeypatch.setattr(buffers, "LARGE_BYTES", large_bytes)
  memory = cases.memory_of(BASE[:300], mesh=mesh)
  assert_holds(memory, BASE[:300], [f"r{i}" for i in range(300)])
  before = [rows.ctypes.data for _, rows in buffers.views(memory.given)]
  memory = memory.remove(["r7"], donate=True)
  after = [rows.ctypes.data for _, rows in buffers.views(memory.given)]
  assert (before == after) == (large_bytes == 0)


# Edits


@pytest.mark.parametrize("by_host", [False, True])
@pytest.mark.parametrize("precision", coarse.PRECISIONS)
def test_edits_return_a_new_memory_and_leave_the_old(
  precision, by_host, mesh, monkeypatch
):
  monkeypatch.setattr(buffers, "LARGE_BYTES", 0 if by_host else 1 << 30)
  memory = cases.memory_of(BASE[:300], mesh=mesh, precision=precision)
  ids = [f"r{i}" for i in range(300)]
  edited = [
    memory.add(cases.embedded_rows(BASE[300:310], first_id=300)),
    memory.add(
      cases.embedded_rows(cases.random_rows(2500, DIM), first_id=300)
    ),  # Grows.
    memory.remove(ids[::3]),
    memory.relabel(["r2"], ["ant"]),
    memory.subset(ids[100:50:-1]),
  ]
  # Not even a later edit that takes over all buffers reaches the old one.
  for other in edited:
    other.remove(["r70"], donate=True)
  for other in edited:
    assert other.rows.embeddings.is_deleted()
  assert_holds(memory, BASE[:300], ids)
  assert_coarse_copy_is_whole(memory)
  near = exact.search(BASE[:24], memory, k=3)
  cases.assert_exact(near, BASE[:24], BASE[:300], k=3)


@pytest.mark.parametrize("precision", [*coarse.PRECISIONS, "whitened"])
def test_edits_by_the_host_are_those_of_a_program(precision, mesh, monkeypatch):
  whitened = precision == "whitened"
  memory = cases.memory_of(
    BASE[:300],
    mesh=mesh,
    precision="int8" if whitened else precision,
    whitening=0.1 if whitened else None,
  )
  more = cases.embedded_rows(BASE[300:305], first_id=300)
  edits = [
    lambda: memory.add(more),
    lambda: memory.remove([f"r{i}" for i in range(0, 300, 7)]),
    lambda: memory.relabel(["r2", "r299"], ["ant", 3]),
    lambda: copy.deepcopy(memory),
  ]
  made = []
  for large_bytes in (1 << 30, 0):
    monkeypatch.setattr(buffers, "LARGE_BYTES", large_bytes)
    made.append([edit() for edit in edits])
  for program, host in zip(*made, strict=True):
    leaves = jax.tree.leaves(host.rows)
    for one, other in zip(jax.tree.leaves(program.rows), leaves, strict=True):
      assert one.sharding.is_equivalent_to(other.sharding, one.ndim)
      assert one.dtype == other.dtype
      assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    if not whitened:  # Else all are whitened anew.
      held = {x.unsafe_buffer_pointer() for x in jax.tree.leaves(shards(host))}
      assert not held & {
        x.unsafe_buffer_pointer() for x in jax.tree.leaves(shards(memory))
      }


def shards(memory):
  """The arrays of every device."""
  return [
    [shard.data for shard in array.addressable_shards]
    for array in jax.tree.leaves(memory.rows)
  ]


def test_add_remove_relabel_and_subset(mesh):
  memory = cases.memory_of(BASE[:300], mesh=mesh)
  ids = np.array([f"r{i}" for i in range(310)], dtype=object)
  memory = memory.add(cases.embedded_rows(BASE[300:310], first_id=300))
  assert_holds(memory, BASE[:310], ids)

  kept = np.arange(310) % 3 > 0
  memory = memory.remove(ids[~kept])
  assert_holds(memory, BASE[:310][kept], ids[kept])

  memory = memory.relabel(["r4", "r5", "r7"], ["eel", 0, types.UNLABELED])
  labels = dict(zip(ids[kept], memory.embedded().labels, strict=True))
  assert (labels["r4"], labels["r5"], labels["r7"]) == (4, 0, -1)
  assert labels["r8"] == 8 % 5  # Untouched.
  assert list(memory.ids_with_label("ant"))[:3] == ["r5", "r10", "r20"]
  assert list(memory.ids_with_label(types.UNLABELED)) == ["r7"]

  memory = memory.subset(["r200", "r5", "r301"])
  assert_holds(memory, BASE[[5, 200, 301]], ["r5", "r200", "r301"])
  # A row that comes back is the newest.
  memory = memory.add(cases.embedded_rows(BASE[:1]))
  assert_holds(memory, BASE[[5, 200, 301, 0]], ["r5", "r200", "r301", "r0"])


def test_classes_are_matched_by_name(mesh):
  memory = cases.memory_of(BASE[:5], mesh=mesh)
  more = types.embedded_set(
    BASE[5:9],
    np.array([0, 1, 2, types.UNLABELED]),
    ["a", "b", "c", "d"],
    class_names=["fox", "cat", "gnu"],
    fingerprint="encoder",
  )
  memory = memory.add(more)
  assert memory.class_names == (*cases.CLASS_NAMES, "fox", "gnu")
  assert list(memory.embedded().labels[5:]) == [5, 2, 6, types.UNLABELED]


def test_donated_edits_end_the_old_memory(mesh):
  def fresh():
    return cases.memory_of(BASE[:300], mesh=mesh)

  more = cases.embedded_rows(BASE[300:301], first_id=300)
  many = cases.embedded_rows(cases.random_rows(2500, DIM), first_id=300)
  for edit in (
    lambda m: m.add(more, donate=True),
    lambda m: m.add(many, donate=True),
    lambda m: m.remove(["r7"], donate=True),
    lambda m: m.relabel(["r7"], ["cat"], donate=True),
  ):
    old = fresh()
    new = edit(old)
    assert "r1" in new.embedded().ids
    with pytest.raises(ValueError, match="deleted by an edit with donate"):
      exact.search(BASE[:24], old, k=3)
    with pytest.raises(ValueError, match="deleted by an edit with donate"):
      edit(old)


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize("precision", coarse.PRECISIONS)
def test_removal_leaves_no_bit_of_a_row(precision, donate, mesh):
  memory = cases.memory_of(BASE[:300], mesh=mesh, precision=precision)
  gone = [f"r{i}" for i in (0, 7, 150, 299)]
  slots = memory.table.find(gone)
  secret = np.asarray(memory.rows.embeddings)[slots]
  assert (secret != 0).all()

  memory = memory.remove(gone, donate=donate)
  for array in jax.tree.leaves(memory.rows):
    if array.ndim:
      held = np.asarray(array)[slots]
      assert (held == held.flat[0]).all() and held.flat[0] in (0, -1)
    for shard in array.addressable_shards:
      held = np.asarray(shard.data).tobytes()
      assert not any(row.tobytes() in held for row in secret)
  assert (np.asarray(memory.rows.labels)[slots] == types.UNLABELED).all()
  assert (np.asarray(memory.rows.serials)[slots] == rows_lib.EMPTY).all()
  assert not set(gone) & set(memory.ids)
  near = exact.search(secret, memory, k=3)
  assert not set(gone) & set(near.ids.ravel())


def test_edits_of_one_size_share_a_program(mesh):
  memory = cases.memory_of(BASE[:300], mesh=mesh, precision="int8")

  def edit_all(memory, first):
    ids = [f"r{i}" for i in range(first, first + 10)]
    memory = memory.remove(ids)
    memory = memory.add(cases.embedded_rows(BASE[:10], first_id=first))
    return memory.relabel(ids[:5], [1] * 5)

  memory = edit_all(memory, 0)
  with cases.counted_compilations() as compilations:
    edit_all(edit_all(memory, 20), 40)
    memory.remove(["r50"] + [f"r{i}" for i in range(60, 70)])  # Padded to 16.
  assert not compilations


# Any sequence of edits


def apply_to_list(rows, edit, kind):
  """The same edit of a plain list of (id, row, label)."""
  if kind == "add":
    return rows + edit
  if kind == "remove":
    return [row for row in rows if row[0] not in edit]
  if kind == "subset":
    return [row for row in rows if row[0] in edit]
  return [(i, row, edit.get(i, label)) for i, row, label in rows]


def as_embedded(rows):
  ids, embeddings, labels = zip(*rows, strict=True)
  return types.embedded_set(
    np.stack(embeddings),
    np.array(labels),
    ids,
    class_names=cases.CLASS_NAMES,
    fingerprint="encoder",
  )


def edit_at_random(memory, rows, data, precision):
  """One edit of a memory and of the list that says what it must hold."""
  donate = data.draw(st.booleans(), label="donate")
  kind = data.draw(
    st.sampled_from(["add", "remove", "relabel", "subset"]), label="kind"
  )
  held = [row_id for row_id, _, _ in rows]
  if kind == "add":
    # Removed rows come back; some additions are more than the spare slots.
    count = data.draw(st.sampled_from([1, 8, 120]), label="count")
    absent = [i for i in range(len(BASE)) if f"r{i}" not in set(held)]
    new = data.draw(st.permutations(absent[: 2 * count]), label="new")[:count]
    edit = [(f"r{i}", BASE[i // 3], i % 5) for i in new]  # Each row thrice.
    edited = memory.add(as_embedded(edit), donate=donate)
  else:
    few = st.lists(st.sampled_from(held), unique=True, min_size=1, max_size=8)
    edit = data.draw(few, label="ids")
    if kind == "remove":
      edit = edit[: len(held) - 3]
      edited = memory.remove(edit, donate=donate)
    elif kind == "relabel":
      edit = {row_id: 2 for row_id in edit}
      edited = memory.relabel(list(edit), ["cat"] * len(edit), donate=donate)
    else:
      edit = list(dict.fromkeys(held[:3] + held[::2] + edit))
      edited = memory.subset(edit)
  return edited, apply_to_list(rows, edit, kind)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@hypothesis.settings(
  max_examples=6,
  deadline=None,
  derandomize=True,
  suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(data=st.data())
def test_any_edits_then_search_equals_a_fresh_memory(mesh, precision, data):
  rows = [(f"r{i}", BASE[i // 3], i % 5) for i in range(240)]
  memory = VisualMemory.from_embedded(
    as_embedded(rows), mesh=mesh, precision=precision
  )
  for _ in range(data.draw(st.integers(1, 6), label="edits")):
    memory, rows = edit_at_random(memory, rows, data, precision)
  expected = as_embedded(rows)
  held = memory.embedded()
  for name in ("embeddings", "labels", "ids"):
    np.testing.assert_array_equal(getattr(held, name), getattr(expected, name))
  assert_coarse_copy_is_whole(memory)
  queries = np.concatenate([BASE[:5], cases.random_rows(3, DIM, seed=9)])
  near = exact.search(queries, memory, k=3)
  fresh = VisualMemory.from_embedded(expected, mesh=mesh)
  cases.assert_same(near, exact.search(queries, fresh, k=3))


# Bad input


def bad_rows(row, value):
  rows = BASE[:3].copy()
  rows[row] *= value
  return dataclasses.replace(
    cases.embedded_rows(BASE[:3], first_id=900), embeddings=rows
  )


@pytest.mark.parametrize(
  "more, message",
  [
    (bad_rows(1, np.nan), "row 1 .id 'r901'. holds NaN"),
    (bad_rows(2, np.inf), "row 2 .* holds NaN or infinity"),
    (bad_rows(0, 2), "row 0 .* has length 2"),
    (
      cases.embedded_rows(BASE[:3], first_id=298),
      "2 of 3 ids are already in the memory, for example 'r298'",
    ),
    (
      cases.embedded_rows(BASE[:3], first_id=900, fingerprint="other"),
      "encoder 'other', the memory from 'encoder'",
    ),
    (
      cases.embedded_rows(cases.random_rows(3, 7), first_id=900),
      "dimension 7, the memory has 16",
    ),
    (
      dataclasses.replace(
        cases.embedded_rows(BASE[:3]),
        ids=np.array(["x", "y", "x"], dtype=object),
      ),
      "Duplicate id 'x' .row 2.",
    ),
  ],
)
def test_rows_that_cannot_be_added_are_named(more, message, mesh):
  memory = cases.memory_of(BASE[:300], mesh=mesh)
  with pytest.raises(ValueError, match=message):
    memory.add(more, donate=True)
  assert_holds(memory, BASE[:300], [f"r{i}" for i in range(300)])
  if "memory" not in message:
    with pytest.raises(ValueError, match=message):
      VisualMemory.from_embedded(more, mesh=mesh)


@pytest.mark.parametrize(
  "edit, error, message",
  [
    (
      lambda m: m.remove(["r1", "x", "y"], donate=True),
      KeyError,
      "2 of 3 ids are not in the memory: 'x', 'y'",
    ),
    (lambda m: m.remove(["r1", "r1"]), ValueError, "Duplicate id 'r1'"),
    (lambda m: m.remove("r1"), ValueError, "must be a list; got the str 'r1'"),
    (lambda m: m.relabel(["x"], [0]), KeyError, "'x'"),
    (lambda m: m.relabel(["r1"], [5]), ValueError, "5 is out of range: .* 5"),
    (lambda m: m.relabel(["r1"], [0, 1]), ValueError, "1 ids but 2 labels"),
    (lambda m: m.subset(["x"]), KeyError, "'x'"),
    (
      lambda m: m.ids_with_label("yak"),
      ValueError,
      "No class 'yak'",
    ),
  ],
)
def test_edits_that_cannot_be_made_change_nothing(edit, error, message, mesh):
  memory = cases.memory_of(BASE[:300], mesh=mesh)
  with pytest.raises(error, match=message):
    edit(memory)
  assert_holds(memory, BASE[:300], [f"r{i}" for i in range(300)])
