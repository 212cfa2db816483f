"""Exact search against its peers, at the sizes where it matters.

  make bench                     # or, with jax 0.12: PYTHON=python3.12

About an hour on two CPU cores, and 20 GB of memory: five peers hold the 2 GB of
the largest cases, twelve hold 1 GB. Ours runs with one JAX device for each core
(JAX_NUM_CPU_DEVICES). Results are named by what the processor can do (AVX2,
AVX-512 VNNI): they hold for its kind alone.
"""

import ml_collections

from configs import evaluate

_MANY = 327_680 * 768
"""Entries of all rows: 1 GB."""


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` times three peers on a few rows."""
  smoke = evaluate.is_smoke(arg)
  config = ml_collections.ConfigDict()
  config.base = dict(
    rows="blends", num_rows=327_680, dim=384, num_queries=512, k=100
  )
  config.sweeps = dict(
    rows=("blends", "cifar10", "clustered"),  # cifar10: near-duplicates.
    num_rows=(1000, 10_000, 50_000, 327_680, 1_310_720),
    dim=(128, 384, 768, 1536),
    num_queries=(1, 32, 512, 2048),
    k=(1, 10, 100, 1000),
  )
  config.peers = (
    "visual_memory",
    "visual_memory_float32",
    "visual_memory_int8",
    "faiss_flat_tuned",
    "faiss_flat",
    "numpy_argpartition",
    "sklearn_brute",
    "scann_brute",
    "usearch_exact",
    "lax_top_k",
    "gemm",
    "torch_top_k",  # Where PyTorch is installed.
  )
  config.most_values = dict(  # Beyond, a peer is left out: too slow or too big.
    numpy_argpartition=_MANY,
    sklearn_brute=_MANY,
    scann_brute=_MANY,
    usearch_exact=50_000 * 384,
    torch_top_k=_MANY,
    lax_top_k=_MANY,
    faiss_flat=_MANY,
  )
  config.threads = 2
  config.num_rounds = 5
  if smoke:
    config.base = dict(
      rows="clustered", num_rows=2000, dim=32, num_queries=16, k=10
    )
    config.sweeps = dict(num_rows=(1000, 2000))
    config.peers = (
      "visual_memory",
      "visual_memory_float32",
      "numpy_argpartition",
      "gemm",
    )
    config.num_rounds = 2
  return config
