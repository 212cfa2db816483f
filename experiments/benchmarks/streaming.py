"""Searches rows on disk that are larger than the memory it may use.

  python -m experiments.benchmarks.streaming \\
      --config=configs/benchmark_streaming.py[:smoke] --workdir=DIR

Writes the rows (10 GB by default) into the workdir, drops them from the page
cache, searches them in a process of its own and deletes them.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np

from experiments import terminal
from experiments.benchmarks.peak_memory import peak_bytes
from visual_memory import distributed, files
from visual_memory.data.synthetic import synthetic_embeddings
from visual_memory.reports import workdir
from visual_memory.retrieval import reference, row_blocks, streaming

_CHECKED = 4
"""Queries whose similarities are compared with a plain NumPy search."""


def main(config, path) -> None:
  """Writes rows, searches them in another process, reports, cleans up."""
  rows = path / "rows"
  try:
    write_rows(
      rows,
      num_rows=config.num_rows,
      dim=config.dim,
      num_queries=config.num_queries,
    )
    child = subprocess.run(
      [sys.executable, "-c", _CHILD, str(rows), json.dumps(config.to_dict())],
      check=True,
      stdout=subprocess.PIPE,
      text=True,
    )
    result = json.loads(child.stdout.splitlines()[-1])
    result["largest_difference"] = _difference(rows, config)
  finally:
    shutil.rmtree(rows, ignore_errors=True)
  result |= {"config": config.to_dict(), "environment": workdir.environment()}
  files.write_json(path / "benchmark_streaming.json", result)
  print(
    f"{result['row_bytes'] / 1e9:.2f} GB of rows, {config.num_queries} queries:"
    f" {result['seconds']:.1f} s, {result['bytes_per_s'] / 1e9:.2f} GB/s, peak"
    f" {result['peak_bytes'] / 1e9:.2f} GB of memory, largest difference"
    f" {result['largest_difference']:.1e}"
  )


_CHILD = (
  "import json, sys; from experiments.benchmarks import streaming;"
  "streaming.search_rows(sys.argv[1], **json.loads(sys.argv[2]))"
)


def search_rows(path, *, num_rows, dim, num_queries, k, block_rows, precision):
  """Searches once and prints seconds, bytes and this process's peak."""
  queries = np.load(os.path.join(path, "queries.npy"))
  blocks = row_blocks.ArrayBlocks.from_directory(path, block_rows=block_rows)
  start = time.perf_counter()
  near = streaming.search(
    queries,
    row_blocks.in_order(blocks),
    k=k,
    mesh=distributed.make_mesh(1),
    precision=precision,
  )
  seconds = time.perf_counter() - start
  np.save(os.path.join(path, "found.npy"), near.similarities[:_CHECKED])
  row_bytes = 4 * num_rows * dim
  result = {
    "seconds": seconds,
    "row_bytes": row_bytes,
    "bytes_per_s": row_bytes / seconds,
    "flops": 2 * num_rows * dim * num_queries / seconds,
    "peak_bytes": peak_bytes(),
    "num_redone": near.num_redone,
  }
  print(json.dumps(result))


def write_rows(
  path: pathlib.Path, *, num_rows: int, dim: int, num_queries: int
) -> None:
  """Unit rows, labels, ids and queries as .npy files, not in the page cache.

  Block b is one clustered block with its dimensions rotated by b.
  """
  path.mkdir(parents=True)
  sizes = dict(dim=dim, num_classes=1000, seed=0)
  one = synthetic_embeddings(num_rows=1 << 16, **sizes)
  embeddings = np.lib.format.open_memmap(
    path / "embeddings.npy", "w+", np.float32, (num_rows, dim)
  )
  for block, start in enumerate(range(0, num_rows, len(one))):
    part = one.embeddings[: num_rows - start]
    embeddings[start : start + len(part)] = np.roll(part, block, axis=1)
  embeddings.flush()
  del embeddings
  np.save(path / "labels.npy", np.arange(num_rows, dtype=np.int32) % 1000)
  np.save(path / "ids.npy", np.char.mod(b"row/%d", np.arange(num_rows)))
  queries = synthetic_embeddings(num_rows=num_queries, split="test", **sizes)
  np.save(path / "queries.npy", queries.embeddings)
  _drop_from_cache(path / "embeddings.npy")


def _drop_from_cache(path: pathlib.Path) -> None:
  """Makes the next reads come from the disk, where the system allows it."""
  with open(path, "rb") as file:
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):
      os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _difference(path: pathlib.Path, config) -> float:
  """The largest difference from a plain search in float64, block by block."""
  queries = np.load(path / "queries.npy")[:_CHECKED]
  best = np.full((_CHECKED, config.k), -np.inf, np.float32)
  blocks = row_blocks.ArrayBlocks.from_directory(
    path, block_rows=config.block_rows
  )
  for block in row_blocks.in_order(blocks):
    rows = np.asarray(block.embeddings)
    _, new = reference.search(queries, rows, k=min(config.k, len(rows)))
    both = np.concatenate([best, new], axis=1)
    best = -np.sort(-both, axis=1)[:, : config.k]
  return float(np.abs(best - np.load(path / "found.npy")).max())


if __name__ == "__main__":
  terminal.run(main)
