"""The ScaNN backend: same vocabulary, edits, no pickles, honest recall."""

import json

import numpy as np
import pytest

from visual_memory.studies import cached_search
from visual_memory.studies.study_settings import RetrievalSettings

pytest.importorskip("scann", reason="needs pip install 'visual_memory[scann]'")

from configs import evaluate
from experiments import launch
from visual_memory import distributed
from visual_memory.data.synthetic import synthetic_embeddings
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact, scann

SIZES = dict(dim=32, num_classes=8, seed=5)
CODED = scann.Settings(
  num_leaves=20,
  leaves_to_search=2,
  dimensions_per_block=2,
  num_reordered=30,
)


def rows(count=2000, split="memory"):
  return synthetic_embeddings(num_rows=count, split=split, **SIZES)


def memory_of(embedded):
  return VisualMemory.from_embedded(embedded, mesh=distributed.make_mesh(1))


def queries():
  return rows(40, "test").embeddings


def test_settings_follow_the_guide():
  assert scann.settings_for(10_000, k=10).dimensions_per_block == 0
  assert scann.settings_for(50_000, k=10).num_leaves == 0
  million = scann.settings_for(1_000_000, k=100)
  assert million.num_leaves == 1000
  assert million.leaves_to_search == 100
  assert million.num_reordered >= 100


def test_brute_force_equals_exact_search():
  memory = memory_of(rows())
  found = scann.ScannIndex.build(memory, k=10).search(queries(), k=10)
  true = exact.search(queries(), memory, k=10)
  np.testing.assert_array_equal(found.neighbors.ids, true.ids)
  np.testing.assert_array_equal(found.neighbors.labels, true.labels)
  np.testing.assert_array_equal(found.neighbors.indices, true.indices)
  # Both round float32 sums of 32 products of at most 1.
  np.testing.assert_allclose(
    found.neighbors.similarities, true.similarities, atol=32 * 2**-23
  )
  assert (found.recall, found.num_audited) == (1.0, 40)


def test_recall_is_measured():
  memory = memory_of(rows())
  index = scann.ScannIndex.build(memory, k=10, settings=CODED)
  found = index.search(queries(), k=10, num_audited=16)
  assert found.num_audited == 16
  assert 0 < found.recall < 1
  every = index.search(queries(), k=10, num_audited=40)
  true = exact.search(queries(), memory, k=10)
  by_ids = np.mean(
    [
      len(set(a) & set(b)) / 10
      for a, b in zip(every.neighbors.ids, true.ids, strict=True)
    ]
  )
  assert every.recall == pytest.approx(by_ids)


@pytest.mark.parametrize("settings", [None, CODED])
def test_edits(settings):
  index = scann.ScannIndex.build(memory_of(rows()), k=10, settings=settings)
  new = rows(30, "new")
  index = index.upsert(new)
  assert len(index) == 2030
  near = index.search(new.embeddings, k=1).neighbors
  assert np.mean(near.ids[:, 0] == new.ids) >= 0.9  # It is approximate.
  there = near.ids[:, 0] == new.ids
  np.testing.assert_array_equal(near.labels[there, 0], new.labels[there])
  index = index.delete(new.ids[::2])
  assert len(index) == 2015
  found = index.search(new.embeddings, k=5).neighbors.ids
  assert not set(found.ravel()) & set(new.ids[::2])
  moved = rows(15, "moved")
  replaced = scann.dataclasses.replace(moved, ids=new.ids[1::2].copy())
  index = index.upsert(replaced)
  assert len(index) == 2015
  near = index.search(moved.embeddings, k=1).neighbors
  assert np.mean(near.ids[:, 0] == new.ids[1::2]) >= 0.8
  with pytest.raises(KeyError, match="nowhere"):
    index.delete(["nowhere"])
  assert len(index) == 2015


def test_leaves_each_query_out_of_its_own_neighbors():
  memory = memory_of(rows(300))
  index = scann.ScannIndex.build(memory, k=10)
  embedded = memory.embedded()
  ids = embedded.ids.tolist()[:39] + ["elsewhere"]
  found = index.search(embedded.embeddings[:40], k=10, exclude_self=ids)
  true = exact.search(embedded.embeddings[:40], memory, k=10, exclude_self=ids)
  np.testing.assert_array_equal(found.neighbors.ids, true.ids)
  assert found.recall == 1.0
  with pytest.raises(ValueError, match="1 to 299"):
    index.search(queries(), k=300, exclude_self=ids)
  with pytest.raises(ValueError, match="40 ids for 3 queries"):
    index.search(queries()[:3], k=10, exclude_self=ids)


def test_experiments_report_the_recall(tmp_path):
  config = evaluate.get_config("smoke")
  config.retrieval.backend = "scann"
  launch.run(config, tmp_path / "run")
  report = json.loads((tmp_path / "run" / "report.json").read_text())
  assert report["counts"]["scann_recall_measured"] == 1.0
  assert report["counts"]["audited_queries"] >= 64
  assert "scann recall" in (tmp_path / "run" / "report.html").read_text()
  assert not list((tmp_path / "run").rglob("neighbors/*.npz"))
  with pytest.raises(ValueError, match="searches exactly"):
    cached_search.exact_memory(
      rows(50), None, RetrievalSettings(backend="scann")
    )
  config = evaluate.get_config("smoke")
  config.retrieval.backend = "faiss"
  with pytest.raises(ValueError, match="'faiss'; it can be: 'exact', 'scann'"):
    launch.run(config, tmp_path / "other")


def test_save_and_load(tmp_path):
  index = scann.ScannIndex.build(memory_of(rows()), k=10, settings=CODED)
  index = index.delete(rows().ids[:7]).upsert(rows(5, "new"))
  index.save(tmp_path)
  assert not list(tmp_path.glob("*.pkl"))
  again = scann.ScannIndex.load(tmp_path, index.memory)
  first, second = (i.search(queries(), k=10) for i in (index, again))
  np.testing.assert_array_equal(first.neighbors.ids, second.neighbors.ids)
  again = again.delete(rows(5, "new").ids)  # A loaded index can be edited.
  assert len(again) == 1993
  with pytest.raises(ValueError, match="other rows"):
    scann.ScannIndex.load(tmp_path, memory_of(rows()))
  (tmp_path / "scann_docids.pkl").write_bytes(b"")
  with pytest.raises(ValueError, match="pickle"):
    scann.ScannIndex.load(tmp_path, index.memory)


def test_says_what_is_wrong():
  index = scann.ScannIndex.build(memory_of(rows(50)), k=10)
  with pytest.raises(ValueError, match="1 to 50"):
    index.search(queries(), k=51)
  with pytest.raises(ValueError, match="num_audited"):
    index.search(queries(), k=5, num_audited=0)
  with pytest.raises(ValueError, match="NaN"):
    index.search(np.full((1, 32), np.nan, np.float32), k=5)
