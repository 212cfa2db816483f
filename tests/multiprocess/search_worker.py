"""One process of a distributed run: edits a memory and searches it.

  JAX_COORDINATOR_ADDRESS=... JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=0 \
    python search_worker.py OUTPUT.npz
"""

import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

import jax
import numpy as np

from visual_memory import distributed


def main(output):
  """Runs every case and saves what this process saw."""
  import memory_cases as cases

  seen = {}
  for precision in ("float32", "int8"):
    for name, near in cases.edit_and_search(
      distributed.make_mesh(), precision=precision
    ).items():
      seen[f"{precision} {name} ids"] = near.ids.astype(str)
      seen[f"{precision} {name} labels"] = near.labels
      seen[f"{precision} {name} similarities"] = near.similarities
  np.savez(output, devices=jax.device_count(), **seen)


if __name__ == "__main__":
  jax.config.update("jax_num_cpu_devices", 2)
  jax.config.update("jax_numpy_rank_promotion", "raise")
  distributed.initialize()
  main(sys.argv[1])
