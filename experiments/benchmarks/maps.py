"""Times the map of a memory beside UMAP's and openTSNE's, and judges each.

  python -m experiments.benchmarks.maps \\
      --config=configs/benchmark_maps.py[:smoke] --workdir=DIR

Each lays out the same rows, in a process of its own; those that are not
installed are left out, and those that were timed in this workdir are not timed
again. Trustworthiness (Venna and Kaski 2001) says how far the neighbors on a
map are neighbors in the memory, of evenly spread rows against all of them; 1 is
best. Same: whether a second run gives the same map.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time

import numpy as np
from absl import logging

from experiments import terminal
from visual_memory import files
from visual_memory.data.synthetic import synthetic_embeddings
from visual_memory.reports import workdir

_NEEDS = {"ours": "jax", "umap": "umap", "opentsne": "openTSNE"}
_NEIGHBORS = 10


def main(config, path) -> None:
  """Times every one, and writes JSON."""
  path.mkdir(parents=True, exist_ok=True)
  rows = _rows(config)
  np.save(path / "rows.npy", rows.embeddings)
  result = path / "benchmark_maps.json"
  found = files.read_json(result)["maps"] if result.exists() else {}

  def write() -> None:
    env = workdir.environment()
    values = {"config": config.to_dict(), "environment": env, "maps": found}
    files.write_json(result, values)

  for name in config.peers:
    if importlib.util.find_spec(_NEEDS[name]) is None:
      logging.warning("%s is not installed: it is left out.", _NEEDS[name])
      continue
    if name not in found:
      command = [sys.executable, "-m", "experiments.benchmarks.maps", name]
      said = subprocess.run(
        [*command, str(path), str(config.repeats)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
      )
      found[name] = json.loads(said.stdout.splitlines()[-1])
      write()
    places = np.load(path / f"{name}.npy")
    found[name]["trustworthiness"] = trustworthiness(
      rows.embeddings, places, num_asked=config.num_asked
    )
    write()
    print(name, found[name])


def trustworthiness(embeddings, places, *, num_asked: int) -> float:
  """Of the nearest ten on a map, for evenly spread rows against all."""
  count, k = len(embeddings), _NEIGHBORS
  asked = np.unique(np.linspace(0, count - 1, num_asked).astype(int))
  penalty = 0
  for row in asked:
    ranks = np.empty(count, np.int64)
    far = np.argsort(-(embeddings @ embeddings[row]), kind="stable")
    ranks[far] = np.arange(count)  # The row itself is 0.
    away = ((places - places[row]) ** 2).sum(axis=1)
    away[row] = np.inf
    near = np.argpartition(away, k)[:k]
    penalty += np.maximum(0, ranks[near] - k).sum()
  return float(1 - penalty * 2 / (len(asked) * k * (2 * count - 3 * k - 1)))


def lay_out(name: str, folder: str, repeats: int) -> None:
  """One map, in this process; the seconds of each run on standard output."""
  rows = np.load(os.path.join(folder, "rows.npy"))
  layout = {"ours": _ours, "umap": _umap, "opentsne": _opentsne}[name](rows)
  seconds, places = [], []
  for _ in range(repeats):
    start = time.perf_counter()
    places.append(np.asarray(layout()))
    seconds.append(time.perf_counter() - start)
  np.save(os.path.join(folder, f"{name}.npy"), places[0])
  same = all(np.array_equal(places[0], other) for other in places)
  print(json.dumps({"seconds": seconds, "same": same}))


def _ours(rows):
  import visual_memory as vm

  memory = vm.VisualMemory.from_embedded(
    vm.embedded_set(
      rows,
      np.zeros(len(rows), np.int32),
      list(map(str, range(len(rows)))),
      class_names=("any",),
      fingerprint="made-up",
    )
  )
  return lambda: vm.map_of(memory)


def _umap(rows):
  import umap

  # A seed makes it deterministic, and run on one core.
  return lambda: umap.UMAP(metric="cosine", random_state=0).fit_transform(rows)


def _opentsne(rows):
  import openTSNE

  return lambda: openTSNE.TSNE(
    metric="cosine", n_jobs=os.cpu_count(), random_state=0
  ).fit(rows)


def _rows(config):
  return synthetic_embeddings(
    num_rows=config.num_rows,
    dim=config.dim,
    num_classes=config.num_classes,
    seed=0,
    spread=config.spread,
  )


if __name__ == "__main__":
  if len(sys.argv) == 4 and sys.argv[1] in _NEEDS:
    lay_out(sys.argv[1], sys.argv[2], int(sys.argv[3]))
  else:
    terminal.run(main)
