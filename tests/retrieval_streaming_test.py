"""Search over blocks on disk: equal to the search in memory, and resumable."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from visual_memory import distributed
from visual_memory.data.synthetic import synthetic_embeddings
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import all_pairs, exact, row_blocks, streaming
from visual_memory.types import embedded_set

DIM = 24
SIZES = dict(dim=DIM, num_classes=7, seed=3)


def rows(num_rows=1500):
  """Clustered rows with exact duplicates far apart."""
  made = synthetic_embeddings(num_rows=num_rows, **SIZES)
  embeddings = made.embeddings.copy()
  embeddings[num_rows // 2 : num_rows // 2 + 40] = embeddings[:40]
  embeddings[-30:] = embeddings[5]
  return embedded_set(
    embeddings,
    made.labels,
    made.ids,
    class_names=made.class_names,
    fingerprint=made.fingerprint,
  )


def queries(count=33):
  made = synthetic_embeddings(num_rows=count, split="test", **SIZES).embeddings
  return np.concatenate([made, rows().embeddings[:6]])


def in_memory(embedded, k, **options):
  memory = VisualMemory.from_embedded(embedded, mesh=distributed.make_mesh(1))
  return exact.search(options.pop("queries", queries()), memory, k=k, **options)


def blocks_of(embedded, block_rows=512):
  return row_blocks.ArrayBlocks(
    embedded.embeddings, embedded.labels, embedded.ids, block_rows=block_rows
  )


def stream(blocks, k, **options):
  options = {"mesh": distributed.make_mesh(1)} | options
  asked = options.pop("queries", queries())
  return streaming.search(asked, iter(blocks), k=k, **options)


def assert_same(near, expected):
  np.testing.assert_array_equal(near.ids, expected.ids)
  np.testing.assert_array_equal(near.labels, expected.labels)
  np.testing.assert_array_equal(near.similarities, expected.similarities)


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_equals_search_in_memory(mesh, precision, native, monkeypatch):
  monkeypatch.setenv("VISUAL_MEMORY_NATIVE", native)
  embedded = rows()
  near = stream(blocks_of(embedded), 20, mesh=mesh, precision=precision)
  assert_same(near, in_memory(embedded, 20))
  np.testing.assert_array_equal(embedded.ids[near.indices], near.ids)


def test_k_larger_than_a_block():
  embedded = rows(300)
  near = stream(blocks_of(embedded, 128), 200)
  assert_same(near, in_memory(embedded, 200))


def test_leaves_out_own_rows_and_keeps_insertion_order():
  embedded = rows()
  near = stream(
    blocks_of(embedded),
    20,
    queries=embedded.embeddings[:50],
    exclude_self=embedded.ids[:50],
  )
  assert not (near.ids == embedded.ids[:50, None]).any()
  expected = in_memory(
    embedded,
    20,
    queries=embedded.embeddings[:50],
    exclude_self=embedded.ids[:50],
  )
  assert_same(near, expected)


def test_serials_decide_ties_not_the_order_of_blocks():
  embedded = rows()
  source = blocks_of(embedded)
  backwards = [source[i] for i in (1, 0, 2)]
  near = stream(backwards, 20)
  assert_same(near, in_memory(embedded, 20))


def _stored_as(kind, embedded, path):
  if kind == "npy":
    row_blocks.write_directory(path, embedded)
    return row_blocks.ArrayBlocks.from_directory(path, block_rows=512)
  tensorstore = pytest.importorskip("tensorstore")
  array = tensorstore.open(
    {"driver": "zarr3", "kvstore": f"file://{path}/embeddings"},
    create=True,
    dtype="float32",
    shape=embedded.embeddings.shape,
  ).result()
  array.write(embedded.embeddings).result()
  return row_blocks.ArrayBlocks(
    array, embedded.labels, embedded.ids, block_rows=512
  )


@pytest.mark.parametrize("kind", ["npy", "zarr"])
def test_sources_read_back_what_was_written(kind, tmp_path):
  embedded = rows()
  source = _stored_as(kind, embedded, tmp_path)
  assert len(source) == 3
  parts = list(row_blocks.in_order(source))
  for name in ("embeddings", "labels", "ids", "serials"):
    whole = np.concatenate([np.asarray(getattr(p, name)) for p in parts])
    expected = np.arange(1500) if name == "serials" else getattr(embedded, name)
    np.testing.assert_array_equal(whole, expected)
  with pytest.raises(IndexError):
    source[3]
  near = stream(source, 20)
  assert_same(near, in_memory(embedded, 20))


def test_reads_one_block_ahead_and_no_more():
  embedded = rows()
  source, taken, searched = blocks_of(embedded), [], []

  def watched():
    for index in range(len(source)):
      taken.append(index)
      yield source[index]

  original = streaming.attempts.answer
  try:

    def answer(*args, **kwargs):
      searched.append(len(taken))
      return original(*args, **kwargs)

    streaming.attempts.answer = answer
    stream(watched(), 20)
  finally:
    streaming.attempts.answer = original
  assert len(searched) == len(source)
  assert all(
    count <= min(index + 2, len(source)) for index, count in enumerate(searched)
  )


def test_says_what_is_wrong():
  embedded = rows(300)
  source = blocks_of(embedded, 128)
  with pytest.raises(ValueError, match="300 rows"):
    stream(source, 301)
  with pytest.raises(ValueError, match="k = 0"):
    stream(source, 0)
  with pytest.raises(ValueError, match=r"needs \[Q, 24\]"):
    stream(source, 3, queries=queries()[:, :5])
  with pytest.raises(ValueError, match="larger than the first"):
    stream([source[2], source[0]], 20)
  bad = embedded.embeddings.copy()
  bad[140, 3] = np.nan
  broken = row_blocks.ArrayBlocks(
    bad, embedded.labels, embedded.ids, block_rows=128
  )
  with pytest.raises(ValueError, match="memory/140"):
    stream(broken, 3)
  with pytest.raises(ValueError, match="one of each"):
    row_blocks.ArrayBlocks(
      bad, embedded.labels[:9], embedded.ids, block_rows=128
    )


def graph_arrays(graph):
  parts = [(ids, near.ids, near.similarities) for ids, near in graph]
  return [np.concatenate(x) for x in zip(*parts, strict=True)]


def test_all_pairs_is_leave_one_out(tmp_path):
  embedded = rows(600)
  graph = all_pairs.build(blocks_of(embedded, 256), tmp_path, k=15)
  expected = in_memory(
    embedded,
    15,
    queries=embedded.embeddings,
    exclude_self=embedded.ids,
  )
  ids, neighbors, similarities = graph_arrays(graph)
  np.testing.assert_array_equal(ids, embedded.ids)
  np.testing.assert_array_equal(neighbors, expected.ids)
  np.testing.assert_array_equal(similarities, expected.similarities)
  with pytest.raises(ValueError, match="k differ"):
    all_pairs.build(blocks_of(embedded, 256), tmp_path, k=16)
  changed = embedded.take(np.arange(600)[::-1])
  with pytest.raises(ValueError, match="rows differ"):
    all_pairs.build(blocks_of(changed, 256), tmp_path, k=15)


_BUILD_SLOWLY = """
import sys, time
from visual_memory.retrieval import all_pairs, row_blocks
class Slow(row_blocks.ArrayBlocks):
  def __getitem__(self, index):
    time.sleep(0.05)
    return super().__getitem__(index)
all_pairs.build(
  Slow.from_directory(sys.argv[1], block_rows=128), sys.argv[2], k=9
)
"""


def test_all_pairs_killed_and_resumed(tmp_path):
  row_blocks.write_directory(tmp_path / "rows", rows(600))
  root = pathlib.Path(__file__).parent.parent
  child = subprocess.Popen(
    [sys.executable, "-c", _BUILD_SLOWLY, tmp_path / "rows", tmp_path / "cut"],
    env=os.environ | {"PYTHONPATH": str(root)},
  )
  first = tmp_path / "cut" / "part-000000.npz"
  deadline = time.monotonic() + 3600
  while not first.exists() and time.monotonic() < deadline:
    assert child.poll() is None, "the build ended before it could be killed"
    time.sleep(0.005)
  child.send_signal(signal.SIGKILL)
  assert child.wait() == -signal.SIGKILL
  with pytest.raises(FileNotFoundError):
    all_pairs.open_graph(tmp_path / "cut")
  kept = first.stat().st_mtime_ns
  source = row_blocks.ArrayBlocks.from_directory(
    tmp_path / "rows", block_rows=128
  )
  resumed = all_pairs.build(source, tmp_path / "cut", k=9)
  assert first.stat().st_mtime_ns == kept  # Not made again.
  whole = all_pairs.build(source, tmp_path / "whole", k=9)
  for a, b in zip(graph_arrays(resumed), graph_arrays(whole), strict=True):
    np.testing.assert_array_equal(a, b)
  manifests = [
    json.loads((tmp_path / name / "graph.json").read_text())
    for name in ("cut", "whole")
  ]
  assert manifests[0] == manifests[1]


def _benchmark(tmp_path, config):
  root = pathlib.Path(__file__).parent.parent
  subprocess.run(
    [
      sys.executable,
      "-m",
      "experiments.benchmarks.streaming",
      f"--config=configs/benchmark_streaming.py{config}",
      f"--workdir={tmp_path}",
    ],
    cwd=root,
    check=True,
  )
  assert not (tmp_path / "rows").exists()
  return json.loads((tmp_path / "benchmark_streaming.json").read_text())


def test_benchmark_agrees_with_float64(tmp_path):
  assert _benchmark(tmp_path, ":smoke")["largest_difference"] == 0


@pytest.mark.slow
def test_ten_gigabytes_in_less_than_two(tmp_path):
  result = _benchmark(tmp_path, "")
  assert result["row_bytes"] > 10e9
  assert result["peak_bytes"] < 2e9
  assert result["largest_difference"] == 0
