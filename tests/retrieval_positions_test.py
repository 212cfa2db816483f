"""Every producer of neighbors: positions in order of insertion, after edits.

The contract: the ids of the rows that are there, in order of insertion, indexed
by `near.indices`, are `near.ids`.
"""

import dataclasses
import json

import memory_cases as cases
import numpy as np
import pytest

from visual_memory import distributed
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import (
  all_pairs,
  exact,
  neighbor_files,
  neighbor_records,
  published_files,
  recording,
  row_blocks,
  scann,
  streaming,
)
from visual_memory.store.store import Store

DIM, K = 16, 12
QUERIES = cases.random_rows(9, DIM, seed=1)


def blocks_of(embedded):
  """The rows as blocks that come in another order than they were inserted."""
  serials = np.arange(len(embedded), dtype=np.int32)
  parts = np.array_split(serials, 3)
  parts = [parts[i] for i in (2, 0, 1)]
  return [
    row_blocks.Block(
      embeddings=embedded.embeddings[part],
      labels=embedded.labels[part],
      ids=embedded.ids[part],
      serials=7 * part,  # As if others between them had been removed.
    )
    for part in sorted(parts, key=len, reverse=True)
  ]


def by_exact(memory, mesh, tmp_path):
  return exact.search(QUERIES, memory, k=K)


def by_stream(memory, mesh, tmp_path):
  blocks = blocks_of(memory.embedded())
  return streaming.search(QUERIES, blocks, k=K, mesh=mesh)


def by_neighbor_file(memory, mesh, tmp_path):
  near, path = exact.search(QUERIES, memory, k=K), tmp_path / "near.npz"
  neighbor_files.save_neighbors(path, near, memory.ids)
  return neighbor_files.load_neighbors(path, memory.ids)


def by_records(memory, mesh, tmp_path):
  near, path = exact.search(QUERIES, memory, k=K), tmp_path / "records.npz"
  queries = cases.embedded_rows(QUERIES, first_id=9000)
  records = recording.record(near, queries, memory.embedded())
  neighbor_records.save_records(path, records)
  return neighbor_records.load_records(path, row_ids=memory.ids).near


def by_published_json(memory, mesh, tmp_path):
  near, path = exact.search(QUERIES, memory, k=K), tmp_path / "near.json"
  queries = cases.embedded_rows(QUERIES, first_id=9000)
  records = recording.record(near, queries, memory.embedded())
  published_files.write_published(path, records)
  return published_files.read_published(path, row_ids=memory.ids).near


def by_store(memory, mesh, tmp_path):
  store = Store.create(tmp_path / "store", memory.embedded())
  return exact.search(QUERIES, store.load(mesh=mesh), k=K)


def by_scann(memory, mesh, tmp_path):
  index = scann.ScannIndex.build(memory, k=K)
  index.save(tmp_path / "index")
  index = scann.ScannIndex.load(tmp_path / "index", memory)
  return index.search(QUERIES, k=K).neighbors


PRODUCERS = (
  by_exact,
  by_stream,
  by_neighbor_file,
  by_records,
  by_published_json,
  by_store,
)


def edited(mesh, precision, seed):
  """A memory after random edits, and the ids that it must hold, in order."""
  rng = np.random.default_rng(seed)
  rows = cases.random_rows(900, DIM)
  memory = cases.memory_of(rows[:300], mesh=mesh, precision=precision)
  ids, unused = [f"r{i}" for i in range(300)], 300
  for _ in range(6):
    donate = bool(rng.integers(2))
    kind = rng.choice(["add", "remove", "subset", "relabel"])
    if kind == "add":
      more = rows[unused : unused + rng.integers(1, 90)]
      memory = memory.add(
        cases.embedded_rows(more, first_id=unused), donate=donate
      )
      ids += [f"r{unused + i}" for i in range(len(more))]
      unused += len(more)
    elif kind == "relabel":
      memory = memory.relabel(ids[:2], [1, 1], donate=donate)
    else:
      chosen = set(rng.choice(ids, len(ids) // 4, replace=False))
      kept = [i for i in ids if i not in chosen]
      if kind == "remove":
        memory = memory.remove(sorted(chosen), donate=donate)
      else:
        memory = memory.subset(kept)
      ids = kept
    near = exact.search(QUERIES, memory, k=K)  # Also between edits.
    np.testing.assert_array_equal(np.array(ids, object)[near.indices], near.ids)
  return memory, np.array(ids, object)


@pytest.mark.parametrize("devices, precision", [(1, "float32"), (8, "int8")])
@pytest.mark.parametrize("seed", range(2))
def test_indices_are_positions(devices, precision, seed, tmp_path):
  mesh = distributed.make_mesh(devices)
  memory, ids = edited(mesh, precision, seed)
  np.testing.assert_array_equal(memory.ids, ids)
  expected = exact.search(QUERIES, memory, k=K)
  for produce in PRODUCERS:
    near = produce(memory, mesh, tmp_path)
    np.testing.assert_array_equal(ids[near.indices], near.ids, produce)
    np.testing.assert_array_equal(near.indices, expected.indices, produce)
    assert near.indices.dtype == np.int32


def test_indices_of_an_edited_scann_index_are_positions(tmp_path):
  pytest.importorskip("scann", reason="needs visual_memory[scann]")
  memory, ids = edited(distributed.make_mesh(1), "float32", 0)
  near = by_scann(memory, None, tmp_path)
  np.testing.assert_array_equal(ids[near.indices], near.ids)
  old = memory.embedded().take([3, 5])  # These become the newest rows.
  index = scann.ScannIndex.build(memory, k=K).delete(ids[[0, 7]]).upsert(old)
  near = index.search(QUERIES, k=K).neighbors
  near.check_rows(index.memory.ids)
  expected = exact.search(QUERIES, index.memory, k=K)
  np.testing.assert_array_equal(near.indices, expected.indices)


def test_all_pairs_have_positions_whatever_the_order_of_blocks(tmp_path, mesh):
  embedded = cases.embedded_rows(cases.random_rows(60, DIM))
  graph = all_pairs.build(
    blocks_of(embedded), tmp_path, k=4, mesh=distributed.make_mesh(1)
  )
  np.testing.assert_array_equal(graph.ids, embedded.ids)
  asked = []
  for ids, near in graph:
    asked.extend(ids)
    np.testing.assert_array_equal(embedded.ids[near.indices], near.ids)
  assert sorted(asked) == sorted(embedded.ids)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_after_removal_all_fields_are_of_a_memory_that_never_held(
  precision, mesh
):
  embedded = cases.embedded_rows(cases.random_rows(700, DIM))
  kept = np.arange(700) % 3 > 0
  memory = VisualMemory.from_embedded(embedded, mesh=mesh, precision=precision)
  memory = memory.remove(embedded.ids[~kept])
  never = VisualMemory.from_embedded(
    embedded.take(kept), mesh=mesh, precision=precision
  )
  found, expected = (exact.search(QUERIES, m, k=K) for m in (memory, never))
  cases.assert_same(found, expected)


def test_two_rows_of_one_serial_are_refused():
  blocks = blocks_of(cases.embedded_rows(cases.random_rows(60, DIM)))
  blocks[1] = dataclasses.replace(blocks[1], serials=blocks[0].serials[::-1])
  with pytest.raises(ValueError, match="Two rows have the serial"):
    streaming.search(QUERIES, blocks, k=K, mesh=distributed.make_mesh(1))


def test_neighbors_of_another_memory_are_not_written(tmp_path):
  memory = cases.memory_of(cases.random_rows(60, DIM))
  near = exact.search(QUERIES, memory, k=K)
  with pytest.raises(ValueError, match="belong to another memory"):
    neighbor_files.save_neighbors(tmp_path / "x.npz", near, memory.ids[::-1])
  assert not list(tmp_path.iterdir())


def test_a_graph_of_an_older_format_is_not_gone_on_with(tmp_path):
  blocks = blocks_of(cases.embedded_rows(cases.random_rows(60, DIM)))
  mesh = distributed.make_mesh(1)
  all_pairs.build(blocks, tmp_path, k=4, mesh=mesh)
  manifest = json.loads((tmp_path / "graph.json").read_text())
  del manifest["format"]
  (tmp_path / "graph.json").write_text(json.dumps(manifest))
  with pytest.raises(ValueError, match="another search"):
    all_pairs.build(blocks, tmp_path, k=4, mesh=mesh)
