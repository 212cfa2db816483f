"""Image encoders against their peers, fp32 on two CPU cores or bf16 on a GPU.

  python -m experiments.benchmarks.encoders \\
      --config=configs/benchmark_encoders.py --workdir=DIR

About ten minutes on two CPU cores; what a peer needs must be installed, or the
peer left out with --config.peers. Expected: see experiments/results.
"""

import ml_collections

from configs import evaluate


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The config; `smoke` is one round of two peers, `gpu` is for one GPU."""
  smoke = evaluate.is_smoke(arg, "gpu")
  config = ml_collections.ConfigDict()
  config.models = ("dinov2_vits14", "dino_vitb16")
  config.image_size = 224
  config.batch_sizes = (1, 16)
  config.precision = "float32"
  config.threads = 2
  config.num_rounds = 9
  config.peers = (
    "visual_memory_device_per_core",
    "visual_memory",
    "torch",
    "torch_compile",
    "onnxruntime",
    "jimm",
    "equimo@python3.12",
    "gemm",
  )
  if smoke:
    config.models = ("dinov2_vits14",)
    config.image_size = 28
    config.batch_sizes = (2,)
    config.num_rounds = 1
    config.peers = ("visual_memory", "torch")
  if arg == "gpu":
    config.models = ("dinov2_vits14", "dinov2_vitb14", "dinov2_vitl14")
    config.batch_sizes = (256,)
    config.precision = "bfloat16"
    config.peers = ("visual_memory", "torch_compile", "torch", "gemm")
  return config
