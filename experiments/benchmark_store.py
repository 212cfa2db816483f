"""Times the durable store against its peers, beside what the disk can do.

  python -m experiments.benchmark_store \\
      --config=configs/benchmark_store.py[:smoke] --workdir=DIR

Every peer creates a store of the same rows, reads it with the operating
system's cache dropped and again with it, adds and removes single rows, and
removes a class. Afterwards the files are searched for a removed vector. Running
again with other --config.peers adds them to the report that is in the workdir.
"""

import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import time
from collections.abc import Callable

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from experiments import store_peers
from visual_memory.data.synthetic import synthetic_embeddings
from visual_memory.memory.memory import VisualMemory
from visual_memory.reports import files, workdir
from visual_memory.types import EmbeddedSet

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to time.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go.")
_RESULTS = "benchmark_store.json"
_BLOCK = 4 << 20


def main(argv: list[str]) -> None:
  """Times the disk, then every peer, and writes JSON."""
  if len(argv) > 1:
    raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}.")
  config = _CONFIG.value.lock()
  path = pathlib.Path(_WORKDIR.value)
  path.mkdir(parents=True, exist_ok=True)
  sizes = dict(dim=config.dim, num_classes=config.num_classes, seed=0)
  rows = synthetic_embeddings(num_rows=config.num_rows, **sizes)
  more = _renamed(synthetic_embeddings(num_rows=1000, split="test", **sizes))
  report = {
    "config": config.to_dict(),
    "environment": workdir.environment(),
    "peers": {},
  }
  if (path / _RESULTS).exists():  # Other peers of the same machine and sizes.
    report["peers"] = files.read_json(path / _RESULTS)["peers"]
  report["disk"] = _time_disk(path / "raw", rows.embeddings)
  for name in config.peers:
    if name == "lancedb" and not importlib.util.find_spec("lancedb"):
      logging.warning("LanceDB is not installed: pip install lancedb.")
      continue
    logging.info("Timing %s", name)
    report["peers"][name] = _time_peer(name, path / name, rows, more, config)
    files.write_json(path / _RESULTS, report)
  report["on_device"] = _time_on_device(rows, more, config)
  report["ratios"] = _ratios(report)
  files.write_json(path / _RESULTS, report)
  print(_table(report))


def _time_disk(path: pathlib.Path, rows: np.ndarray) -> dict:
  """The floor: the same bytes written and read in order, one row synced."""
  data = memoryview(rows).cast("B")
  target = np.empty_like(rows)
  target.fill(0)  # So that no page of it is touched for the first time below.
  writes = [_timed(lambda: _write_raw(path, data)) for _ in range(3)]
  cold, warm, fresh = [], [], []
  for _ in range(3):
    _drop_cache(path)
    cold.append(_timed(lambda: _read_raw(path, target)))
    warm.append(_timed(lambda: _read_raw(path, target)))
    _drop_cache(path)
    fresh.append(_timed(lambda: np.fromfile(path, np.float32)))
  with open(path, "r+b", buffering=0) as file:

    def sync_row(number: int) -> None:
      os.pwrite(file.fileno(), data[: rows[0].nbytes], number * 4096)
      os.fdatasync(file.fileno())

    synced = [
      _timed(lambda n=n: sync_row(n)) for n in range(min(200, len(rows)))
    ]
  path.unlink()
  return {
    "num_bytes": rows.nbytes,
    "write_s": writes,
    "read_cold_s": cold,
    "read_warm_s": warm,
    "read_cold_into_new_array_s": fresh,
    "sync_one_row_s": _quantiles(synced),
  }


def _time_peer(name, path, rows, more, config) -> dict:
  """Everything that is timed of one peer."""
  store_peers.discard(path)
  start = time.perf_counter()
  peer = store_peers.PEERS[name](path, rows)
  result = {"create_s": time.perf_counter() - start}
  result["num_bytes"] = store_peers.num_bytes(path)
  result["read_cold_s"], result["read_warm_s"] = [], []
  for _ in range(config.num_loads):
    for file in path.rglob("*"):
      _drop_cache(file)
    result["read_cold_s"].append(_timed(peer.read))
    result["read_warm_s"].append(_timed(peer.read))
  peer.warm_up()
  count = config.num_edits[name]
  chosen = np.random.default_rng(0).permutation(len(rows))[: count + 1]
  singles = [more.take([n]) for n in range(count + 1)]
  peer.add(singles[-1])  # Whatever is done once only is not timed.
  peer.remove([rows.ids[chosen[-1]]])
  adds = [_timed(lambda one=one: peer.add(one)) for one in singles[:-1]]
  ids = rows.ids[chosen[:-1]].tolist()
  removals = [_timed(lambda i=i: peer.remove([i])) for i in ids]
  result["add_one_s"], result["remove_one_s"] = map(
    _quantiles, (adds, removals)
  )
  label = int(rows.labels[chosen[0]])
  result["class_rows"] = int(np.sum(rows.labels == label))
  result["remove_class_s"] = _timed(lambda: peer.remove_class(label))
  removed = rows.embeddings[chosen[0]].tobytes()[:16]
  result["removed_bytes_left"] = store_peers.holds(path, removed)
  del peer
  store_peers.discard(path)
  return result


def _time_on_device(rows, more, config) -> dict:
  """Single edits of a memory on the devices, which keep its buffers."""
  memory = VisualMemory.from_embedded(rows)
  count = min(100, config.num_edits.visual_memory)
  adds, removals = [], []
  for number in range(count):
    start = time.perf_counter()
    memory = memory.add(more.take([number]), donate=True)
    memory.rows.embeddings.block_until_ready()
    adds.append(time.perf_counter() - start)
    start = time.perf_counter()
    memory = memory.remove([rows.ids[number]], donate=True)
    memory.rows.embeddings.block_until_ready()
    removals.append(time.perf_counter() - start)
  return {
    "add_one_s": _quantiles(adds[1:]),  # The first ones compile.
    "remove_one_s": _quantiles(removals[1:]),
  }


def _ratios(report) -> dict:
  """Ours against the disk, and the peers against ours."""
  if "visual_memory" not in report["peers"]:
    return {}
  ours, disk = report["peers"]["visual_memory"], report["disk"]
  ratios = {
    "create_of_raw_write_speed": min(disk["write_s"]) / ours["create_s"],
    "cold_load_of_raw_read_speed": (
      min(disk["read_cold_s"]) / min(ours["read_cold_s"])
    ),
  }
  for name, peer in report["peers"].items():
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


def _write_raw(path: pathlib.Path, data: memoryview) -> None:
  """Writes bytes in order, durably."""
  with contextlib.suppress(FileNotFoundError):
    path.unlink()
  with open(path, "wb", buffering=0) as file:
    for start in range(0, len(data), _BLOCK):
      file.write(data[start : start + _BLOCK])
    os.fsync(file.fileno())


def _read_raw(path: pathlib.Path, target: np.ndarray) -> None:
  """Reads bytes in order."""
  view = memoryview(target).cast("B")
  with open(path, "rb", buffering=0) as file:
    for start in range(0, len(view), _BLOCK):
      file.readinto(view[start : start + _BLOCK])


def _drop_cache(path: pathlib.Path) -> None:
  """Asks the system to forget what it has cached of a file."""
  if path.is_file():
    with open(path, "rb") as file:
      os.fsync(file.fileno())
      os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _timed(call: Callable) -> float:
  """Seconds that a call takes."""
  start = time.perf_counter()
  call()
  return time.perf_counter() - start


def _quantiles(seconds: list[float]) -> dict[str, float]:
  """The median, the 99th percentile and the slowest of some times."""
  p50, p99 = np.quantile(seconds, [0.5, 0.99])
  return {"p50": p50, "p99": p99, "max": max(seconds), "count": len(seconds)}


def _table(report) -> str:
  """The report as lines of text."""
  lines = [
    f"{'':16}{'create s':>10}{'cold read s':>12}{'add ms':>10}"
    f"{'remove ms':>11}{'p99 ms':>9}{'class s':>9}  removed bytes"
  ]
  for name, peer in report["peers"].items():
    left = "still there" if peer["removed_bytes_left"] else "gone"
    lines.append(
      f"{name:16}{peer['create_s']:10.2f}{min(peer['read_cold_s']):12.2f}"
      f"{peer['add_one_s']['p50'] * 1e3:10.2f}"
      f"{peer['remove_one_s']['p50'] * 1e3:11.2f}"
      f"{peer['remove_one_s']['p99'] * 1e3:9.2f}"
      f"{peer['remove_class_s']:9.2f}  {left}"
    )
  disk = report["disk"]
  lines.append(
    f"{'bare disk':16}{min(disk['write_s']):10.2f}"
    f"{min(disk['read_cold_s']):12.2f}"
    f"{disk['sync_one_row_s']['p50'] * 1e3:10.2f}"
  )
  return "\n".join(lines)


if __name__ == "__main__":
  app.run(main)
