"""Exact search against its peers, at the sizes where it matters.

  make bench                     # or, with jax 0.12: PYTHON=python3.12

About an hour on two CPU cores; the memory of the largest case times the
number of its peers must fit (1.3 million rows of 384 are 2 GB each). Ours runs
with one JAX device for each core (JAX_NUM_CPU_DEVICES). Results are named by
what the processor can do (AVX2, AVX-512 VNNI): they hold for its kind alone.
"""

import ml_collections

from configs import evaluate


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
  config.most_rows = dict(  # Beyond, a peer is left out: too slow, or too big.
    numpy_argpartition=327_680,
    sklearn_brute=327_680,
    scann_brute=327_680,
    usearch_exact=50_000,
    torch_top_k=327_680,
    lax_top_k=327_680,
    faiss_flat=327_680,
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
