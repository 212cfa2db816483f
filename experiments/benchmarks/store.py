"""Times the durable store against its peers, beside what the disk can do.

  python -m experiments.benchmarks.store \\
      --config=configs/benchmark_store.py[:smoke|:create] --workdir=DIR

Every peer creates a store of the same rows, reads it with the operating
system's cache of its files dropped ("cold") and again with it ("warm"), adds
and removes single rows, and removes a class. Writing and reading the same bytes
bare is timed just before each creation and each read, since a disk's speed
varies. Afterwards the files are searched for a removed vector. Running again
with other --config.peers adds them to the report that is in the workdir.
"""

import contextlib
import dataclasses
import gc
import importlib.util
import time

import jax
import numpy as np
from absl import logging

from experiments import terminal
from experiments.benchmarks import disk_floor, peers, store_peers
from experiments.benchmarks.disk_floor import quantiles, timed
from visual_memory import files
from visual_memory.data.synthetic import synthetic_embeddings
from visual_memory.memory.memory import VisualMemory
from visual_memory.reports import workdir
from visual_memory.types import EmbeddedSet

_RESULTS = "benchmark_store.json"
_CACHE = (
  "cold: the system was asked to forget the files (fsync, then"
  " POSIX_FADV_DONTNEED on each); warm: read just before. The cache of"
  " whatever is under the file system, as in a virtual machine, is not"
  " controlled."
)


def main(config, path) -> None:
  """Times every peer beside the disk, and writes JSON."""
  path.mkdir(parents=True, exist_ok=True)
  sizes = dict(dim=config.dim, num_classes=config.num_classes, seed=0)
  rows = synthetic_embeddings(num_rows=config.num_rows, **sizes)
  more = _renamed(synthetic_embeddings(num_rows=1000, split="test", **sizes))
  report = {
    "config": config.to_dict(),
    "environment": workdir.environment(),
    "cpu": peers.cpu(),
    "page_cache": _CACHE,
    "num_bytes": rows.embeddings.nbytes,
    "peers": {},
  }
  if (path / _RESULTS).exists():  # Other peers of the same machine and sizes.
    report["peers"] = files.read_json(path / _RESULTS)["peers"]
  for name in config.peers:
    if name == "lancedb" and not importlib.util.find_spec("lancedb"):
      logging.warning("LanceDB is not installed: pip install lancedb.")
      continue
    logging.info("Timing %s", name)
    found = (_time_peer if config.edits else _time_creation)(
      name, path, rows, more, config
    )
    report["peers"].setdefault(name, {}).update(found)
    files.write_json(path / _RESULTS, report)
    gc.collect()
  report["on_device"] = _time_on_device(rows, more, config)
  report["ratios"] = _ratios(report["peers"])
  files.write_json(path / _RESULTS, report)
  print(_table(report) if config.edits else report["ratios"])


def _time_creation(name, folder, rows, more, config) -> dict:
  """Creations alone."""
  del more
  peer, result = _create(name, folder, rows, config.num_rounds)
  del peer
  (folder / "raw").unlink()
  store_peers.discard(folder / name)
  return result


def _create(name, folder, rows, num_rounds: int):
  """A peer that holds the rows, and the times of creations and bare writes."""
  path, raw = folder / name, folder / "raw"
  data = memoryview(rows.embeddings).cast("B")
  result = {"create_s": [], "raw_write_s": []}
  peer = None
  for _ in range(num_rounds):
    # Each follows the deletion of what it replaces: in a virtual machine,
    # memory freed a moment ago is cheaper to fill than what the host took back.
    result["raw_write_s"].append(timed(lambda: disk_floor.write(raw, data)))
    peer = None
    store_peers.discard(path)
    start = time.perf_counter()
    peer = store_peers.PEERS[name](path, rows)
    result["create_s"].append(time.perf_counter() - start)
  result["num_bytes"] = store_peers.num_bytes(path)
  return peer, result


def _time_peer(name, folder, rows, more, config) -> dict:
  """Everything that is timed of one peer."""
  path, raw = folder / name, folder / "raw"
  data = memoryview(rows.embeddings).cast("B")
  peer, result = _create(name, folder, rows, config.num_rounds)
  result |= _time_reads(peer, path, raw, config.num_rounds)
  synced = disk_floor.sync_rows(
    raw, bytes(data[: rows.embeddings[0].nbytes]), min(200, len(rows))
  )
  result["raw_sync_one_row_s"] = quantiles(synced)
  raw.unlink()
  result |= _time_edits(peer, rows, more, config.num_edits[name])
  needle = rows.embeddings[result.pop("removed_row")].tobytes()[:16]
  result["removed_bytes_left"] = store_peers.holds(path, needle)
  del peer
  store_peers.discard(path)
  return result


def _time_reads(peer, path, raw, num_rounds: int) -> dict:
  """Whole reads, beside those of the bare file."""
  cold, warm, raw_cold, raw_warm = [], [], [], []
  for _ in range(num_rounds):
    disk_floor.drop_cache(raw)
    raw_cold.append(timed(lambda: disk_floor.read(raw)))
    raw_warm.append(timed(lambda: disk_floor.read(raw)))
    disk_floor.drop_cache(path)
    cold.append(timed(peer.read))
    warm.append(timed(peer.read))
  return {
    "read_cold_s": cold,
    "read_warm_s": warm,
    "raw_read_cold_s": raw_cold,
    "raw_read_warm_s": raw_warm,
  }


def _time_edits(peer, rows, more, count: int) -> dict:
  """Single rows in turns, then a class."""
  peer.warm_up()
  chosen = np.random.default_rng(0).permutation(len(rows))[: count + 1]
  singles = [more.take([n]) for n in range(count + 1)]
  peer.add(singles[-1])  # Whatever is done once only is not timed.
  peer.remove([rows.ids[chosen[-1]]])
  adds = [timed(lambda one=one: peer.add(one)) for one in singles[:-1]]
  ids = rows.ids[chosen[:-1]].tolist()
  removals = [timed(lambda i=i: peer.remove([i])) for i in ids]
  label = int(rows.labels[chosen[0]])
  return {
    "add_one_s": quantiles(adds),
    "remove_one_s": quantiles(removals),
    "class_rows": int(np.sum(rows.labels == label)),
    "remove_class_s": timed(lambda: peer.remove_class(label)),
    "removed_row": int(chosen[0]),
  }


def _time_on_device(rows, more, config) -> dict:
  """Single edits of a memory on the devices, which keep its buffers."""
  memory = VisualMemory.from_embedded(rows)
  adds, removals = [], []
  with _compilations() as compiled:
    for number in range(min(100, config.num_edits.visual_memory)):
      start = time.perf_counter()
      memory = memory.add(more.take([number]), donate=True)
      memory.rows.embeddings.block_until_ready()
      adds.append(time.perf_counter() - start)
      start = time.perf_counter()
      memory = memory.remove([rows.ids[number]], donate=True)
      memory.rows.embeddings.block_until_ready()
      removals.append(time.perf_counter() - start)
      if not number:
        num_first = len(compiled)
  return {
    "add_one_s": quantiles(adds[1:]),  # The first ones compile.
    "remove_one_s": quantiles(removals[1:]),
    "compilations_of_first_edits": num_first,
    "compilations_after": len(compiled) - num_first,
  }


@contextlib.contextmanager
def _compilations():
  """A list that gets one entry for everything that is compiled inside."""
  compiled = []

  def listener(event: str, duration_s: float, **details) -> None:
    if event.endswith("backend_compile_duration"):
      compiled.append((duration_s, details))

  jax.monitoring.register_event_duration_secs_listener(listener)
  yield compiled
  jax.monitoring.unregister_event_duration_listener(listener)


def _ratios(peers) -> dict:
  """Ours against the disk, and the peers against ours."""
  if "visual_memory" not in peers:
    return {}
  ours, median = peers["visual_memory"], np.median
  ratios = {
    "create_of_raw_write_speed": (
      median(ours["raw_write_s"]) / median(ours["create_s"])
    ),
    "best_create_of_best_raw_write": (
      min(ours["raw_write_s"]) / min(ours["create_s"])
    ),
  }
  if "read_cold_s" not in ours:
    return ratios
  ratios |= {
    "cold_load_of_raw_read_speed": (
      median(ours["raw_read_cold_s"]) / median(ours["read_cold_s"])
    ),
    "best_cold_load_of_best_raw_read": (
      min(ours["raw_read_cold_s"]) / min(ours["read_cold_s"])
    ),
  }
  for name, peer in peers.items():
    for edit in ("add_one_s", "remove_one_s"):
      ratios[f"{name}_{edit}_over_ours"] = peer[edit]["p50"] / ours[edit]["p50"]
    ratios[f"{name}_remove_class_s_over_ours"] = (
      peer["remove_class_s"] / ours["remove_class_s"]
    )
  return ratios


def _renamed(rows: EmbeddedSet) -> EmbeddedSet:
  """The same rows under ids of their own."""
  ids = np.array([f"new/{n}" for n in range(len(rows))], dtype=object)
  return dataclasses.replace(rows, ids=ids)


def _table(report) -> str:
  """The report as lines of text; medians of whole writes and reads."""
  lines = [
    f"{'':14}{'create s':>9}{'(raw)':>7}{'cold s':>8}{'(raw)':>7}"
    f"{'add ms':>9}{'p99':>8}{'remove ms':>11}{'p99':>8}{'class s':>9}  removed"
  ]
  for name, peer in report["peers"].items():
    left = "still there" if peer["removed_bytes_left"] else "gone"
    add, remove = peer["add_one_s"], peer["remove_one_s"]
    lines.append(
      f"{name:14}{np.median(peer['create_s']):9.2f}"
      f"{np.median(peer['raw_write_s']):7.2f}"
      f"{np.median(peer['read_cold_s']):8.2f}"
      f"{np.median(peer['raw_read_cold_s']):7.2f}"
      f"{add['p50'] * 1e3:9.2f}{add['p99'] * 1e3:8.2f}"
      f"{remove['p50'] * 1e3:11.2f}{remove['p99'] * 1e3:8.2f}"
      f"{peer['remove_class_s']:9.2f}  {left}"
    )
    sync = peer["raw_sync_one_row_s"]
    lines.append(f"  a bare synced row: {sync['p50'] * 1e3:.2f} ms")
  device = report["on_device"]
  lines.append(
    f"on the device: add {device['add_one_s']['p50'] * 1e3:.2f} ms, remove"
    f" {device['remove_one_s']['p50'] * 1e3:.2f} ms, compiled after the first:"
    f" {device['compilations_after']}"
  )
  return "\n".join(lines)


if __name__ == "__main__":
  terminal.run(main)
