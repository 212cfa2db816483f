"""Other libraries' exact search, each in a process of its own.

  python -m experiments.benchmarks.retrieval_peers \
    NAME rows.npy queries.npy K THREADS

Answers lines on standard input: "run" searches once and prints the seconds,
"save PATH" writes the neighbors' row numbers of the last run, [Q, k].
"""

import json
import os
import sys
import time

import numpy as np

from experiments.benchmarks.peak_memory import peak_bytes
from visual_memory.native import library

_GEMM_ROWS = 4096


def visual_memory(rows, k, threads):
  """This project as it comes: the first pass that this processor does fast."""
  return _visual_memory(rows, k, "auto")


def visual_memory_float32(rows, k, threads):
  """This project, first pass in float32."""
  return _visual_memory(rows, k, "float32")


def visual_memory_int8(rows, k, threads):
  """This project, first pass in int8 with a certificate."""
  return _visual_memory(rows, k, "int8")


def _visual_memory(rows, k, precision):
  from visual_memory.memory.memory import VisualMemory
  from visual_memory.retrieval import exact
  from visual_memory.types import embedded_set

  embedded = embedded_set(
    rows,
    np.zeros(len(rows), np.int32),
    [str(row) for row in range(len(rows))],
    class_names=["any"],
    fingerprint="benchmark",
  )
  memory = VisualMemory.from_embedded(embedded, precision=precision)
  del embedded

  def search(queries):
    return exact.search(queries, memory, k=k)

  # Ids are the row numbers as strings: read back only when they are saved.
  return (
    search,
    lambda near: near.ids.astype(np.int64),
    lambda near: {
      "num_redone": near.num_redone,
      "first_pass": memory.rows.precision,
    },
  )


def faiss_flat(rows, k, threads):
  """Faiss IndexFlatIP, as installed."""
  import faiss

  faiss.omp_set_num_threads(threads)
  index = faiss.IndexFlatIP(rows.shape[1])
  index.add(rows)
  return lambda queries: index.search(queries, k)[1]


def faiss_flat_tuned(rows, k, threads):
  """Faiss with its BLAS told which CPU this is, and used for any batch."""
  import faiss

  faiss.cvar.distance_compute_blas_threshold = 1
  return faiss_flat(rows, k, threads)


def numpy_argpartition(rows, k, threads):
  """All scores, argpartition, and a sort of the k that are left."""

  def search(queries):
    scores = queries @ rows.T
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)

  return search


def sklearn_brute(rows, k, threads):
  """scikit-learn NearestNeighbors; Euclidean, the same order for unit rows."""
  from sklearn.neighbors import NearestNeighbors

  index = NearestNeighbors(
    n_neighbors=k, algorithm="brute", metric="euclidean", n_jobs=threads
  ).fit(rows)
  return lambda queries: index.kneighbors(queries, return_distance=False)


def scann_brute(rows, k, threads):
  """ScaNN without partitions or codes."""
  from visual_memory.retrieval.scann import library

  index = library().builder(rows, k, "dot_product").score_brute_force().build()
  index.set_num_threads(threads)
  return lambda queries: index.search_batched_parallel(queries)[0]


def usearch_exact(rows, k, threads):
  """Usearch's exhaustive search."""
  from usearch.index import search

  def neighbors(queries):
    found = search(rows, queries, k, "ip", exact=True, threads=threads)
    return found.keys.reshape(len(queries), k)  # Of one query it is [k].

  return neighbors


def torch_top_k(rows, k, threads):
  """PyTorch: all scores, then topk."""
  import torch

  torch.set_num_threads(threads)
  placed = torch.from_numpy(rows)

  def search(queries):
    return torch.topk(torch.from_numpy(queries) @ placed.T, k, dim=1)[1].numpy()

  return search


def lax_top_k(rows, k, threads):
  """JAX without thought: all scores, then lax.top_k."""
  import jax

  placed = jax.device_put(rows)

  @jax.jit
  def search(queries):
    scores = jax.numpy.matmul(queries, placed.T, precision="highest")
    return jax.lax.top_k(scores, k)[1]

  return lambda queries: np.asarray(search(queries))


def gemm(rows, k, threads):
  """The floor: the matrix product alone, in tiles that stay in cache."""
  scores = None

  def search(queries):
    nonlocal scores
    if scores is None:
      scores = np.empty((len(queries), _GEMM_ROWS), np.float32)
    for start in range(0, len(rows), _GEMM_ROWS):
      tile = rows[start : start + _GEMM_ROWS]
      np.matmul(queries, tile.T, out=scores[:, : len(tile)])
    return np.zeros((len(queries), k), np.int64)

  return search


PEERS = {
  peer.__name__: peer
  for peer in (
    visual_memory,
    visual_memory_float32,
    visual_memory_int8,
    faiss_flat_tuned,
    faiss_flat,
    numpy_argpartition,
    sklearn_brute,
    scann_brute,
    usearch_exact,
    torch_top_k,
    lax_top_k,
    gemm,
  )
}
"""Functions (rows, k, threads) -> search(queries) -> row numbers."""


def environment(name: str, threads: int) -> dict[str, str]:
  """The environment variables of a peer's process."""
  variables = {
    "OMP_NUM_THREADS": str(threads),
    "OPENBLAS_NUM_THREADS": str(threads),
    "OMP_WAIT_POLICY": "passive",  # Idle peers must not spin.
    "JAX_PLATFORMS": "cpu",
  }
  if name.startswith("visual_memory"):
    variables["JAX_NUM_CPU_DEVICES"] = str(threads)  # One for each core.
  if name in ("faiss_flat_tuned", "gemm") and (core := openblas_core()):
    variables["OPENBLAS_CORETYPE"] = core
  return variables


def openblas_core() -> str | None:
  """The OpenBLAS kernels for this CPU, none that it could not execute."""
  found = library.instructions()
  if "avx512f" in found:
    return "SkylakeX"
  return "Haswell" if "avx2" in found else None


def main(name, rows_path, queries_path, k, threads):
  """Serves one peer until standard input ends."""
  threads = int(threads)
  if hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cores)
  made = PEERS[name](np.load(rows_path), int(k), threads)
  search, to_rows, notes = (
    made if isinstance(made, tuple) else (made, np.asarray, lambda found: {})
  )
  queries = np.load(queries_path)
  found = search(queries)  # Compiles, and touches every page.
  _say(ready=True)
  for line in sys.stdin:
    command, *arguments = line.split(maxsplit=1)
    if command == "run":
      start = time.perf_counter()
      found = search(queries)
      _say(seconds=time.perf_counter() - start, **notes(found))
    else:
      np.save(arguments[0].strip(), to_rows(found))
      _say(peak_bytes=peak_bytes())


def _say(**values):
  print("@" + json.dumps(values), flush=True)


if __name__ == "__main__":
  main(*sys.argv[1:])
