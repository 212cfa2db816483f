"""The durable store against peers and against the bare disk.

  python -m experiments.benchmarks.store --config=configs/benchmark_store.py \\
      --workdir=work/benchmark_store

About ten minutes and 8 GB of disk in the workdir; a few seconds as `smoke`, a
minute as `create`, which times our creations and edits on the device alone.
Expected on two cores with a disk that syncs a row in 1 ms: one row added or
removed, durably, in 3 ms (99 %: under 16 ms); a class of 1,000 rows removed in
half a second. LanceDB takes part where it is installed.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is a store of a few thousand rows."""
  smoke = evaluate.is_smoke(arg, "create")
  config = ml_collections.ConfigDict()
  config.num_rows = 4_000 if smoke else 1_000_000
  config.dim = 16 if smoke else 384
  config.num_classes = 10 if smoke else 1_000
  config.peers = ("visual_memory", "npz", "lancedb")
  config.num_rounds = 2 if smoke else 3
  config.edits = arg != "create"
  if arg == "create":
    config.peers, config.num_rounds = ("visual_memory",), 7
  # Single edits that are timed; the slower peers get fewer.
  config.num_edits = dict(
    visual_memory=10 if smoke else 300,
    lancedb=3 if smoke else 20,
    npz=2 if smoke else 3,
  )
  return config
