"""An image encoder in several libraries, each in a process of its own.

  python -m experiments.benchmarks.encoder_peers PEER \
    '{"model": ..., "weights": ...}'

Answers lines on standard input: "run" embeds the batch once and prints the
seconds, "save PATH" writes the embeddings of the last run, [B, D].
"""

import dataclasses
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

_SEED = 0


@dataclasses.dataclass(frozen=True)
class Task:
  """What every peer does.

  Attributes:
    model: a DINOv2 of `catalog.MODELS` without registers.
    weights: a directory in Hugging Face's layout, the same for every peer.
    batch_size: images in a batch.
    image_size: their side in pixels.
    precision: 'float32' or 'bfloat16'.
    threads: CPU cores to use.
  """

  model: str
  weights: str
  batch_size: int
  image_size: int
  precision: str
  threads: int


def visual_memory(task):
  """This project, as one device."""
  return _visual_memory(task, num_devices=1)


def visual_memory_device_per_core(task):
  """This project, with one CPU device for each core."""
  return _visual_memory(task, num_devices=task.threads)


def _visual_memory(task, num_devices):
  import jax

  jax.config.update("jax_num_cpu_devices", num_devices)
  from visual_memory import distributed
  from visual_memory.encoders import vit

  config, params = _params(task)
  mesh = distributed.make_mesh()
  rows = jax.sharding.PartitionSpec(distributed.DATA)

  def forward(params, pixels):
    outputs = vit.forward(
      params, pixels, config=config, precision=task.precision
    )
    return outputs.embedding

  run = jax.jit(
    jax.shard_map(
      forward,
      mesh=mesh,
      in_specs=(jax.sharding.PartitionSpec(), rows),
      out_specs=rows,
      check_vma=False,
    )
  )
  params = jax.device_put(params, distributed.replicated(mesh))
  pixels = distributed.shard_rows(_pixels(task), mesh)
  return lambda: jax.block_until_ready(run(params, pixels)), np.asarray


def gemm(task):
  """The matrix products of the linear layers alone: a floor for JAX."""
  import jax

  from visual_memory.encoders import vit

  config, params = _params(task)
  at_once = vit.images_at_once(config, _pixels(task).shape)
  num_tokens = 1 + (task.image_size // config.patch_size) ** 2

  def product(x, layer):
    if task.precision == "bfloat16":
      x = x.astype("bfloat16")
    return jax.numpy.matmul(x, layer["kernel"], precision="highest")

  def forward(x):
    for block in params["blocks"].values():
      attention, mlp = block["attn"], block["mlp"]
      x = product(
        product(x, attention["qkv"])[:, : config.dim], attention["proj"]
      )
      x = product(product(x, mlp["fc1"]), mlp["fc2"])
    return x

  groups = task.batch_size // at_once
  x = np.random.default_rng(_SEED).standard_normal(
    (groups, at_once * num_tokens, config.dim), np.float32
  )
  run = jax.jit(lambda x: jax.lax.map(forward, x))
  x = jax.device_put(x)
  return lambda: jax.block_until_ready(run(x)), None


def _params(task):
  """Settings that agree with transformers, and params prepared for them."""
  from visual_memory.encoders import vit
  from visual_memory.encoders.families import catalog

  config = catalog.MODELS[task.model].image
  side = task.image_size // config.patch_size
  params = vit.prepare(
    catalog.load(task.model, task.weights).params,
    dataclasses.replace(config, position_rule="plain"),
    grid=(side, side),
    precision=task.precision,
  )
  return config, params


def torch(task):
  """transformers on PyTorch, as installed."""
  return _torch(task, lambda model: model)


def torch_avx512(task):
  """The same, its BLAS told to use this CPU's widest vectors."""
  return _torch(task, lambda model: model)


def torch_compile(task):
  """The same through torch.compile."""
  import torch as pytorch

  return _torch(task, pytorch.compile)


def _torch(task, wrap):
  import torch as pytorch
  import transformers

  pytorch.set_num_threads(task.threads)
  device = "cuda" if pytorch.cuda.is_available() else "cpu"
  dtype = getattr(pytorch, task.precision)
  model = transformers.Dinov2Model.from_pretrained(task.weights, dtype=dtype)
  model = wrap(model.eval().to(device))
  pixels = pytorch.from_numpy(_pixels(task).transpose(0, 3, 1, 2).copy())
  pixels = pixels.to(device, dtype)

  def run():
    with pytorch.inference_mode():
      embeddings = model(pixels).pooler_output
    if device == "cuda":
      pytorch.cuda.synchronize()
    return embeddings

  return run, lambda embeddings: embeddings.float().cpu().numpy()


def _pixels(task):
  shape = (task.batch_size, task.image_size, task.image_size, 3)
  return np.random.default_rng(_SEED).standard_normal(shape, np.float32)


def write_weights(model: str, folder: str | os.PathLike) -> None:
  """Random weights of a DINOv2 model, in the published layout."""
  import torch as pytorch
  import transformers

  from visual_memory.encoders.families import catalog

  config = catalog.MODELS[model].image
  pytorch.manual_seed(_SEED)
  transformers.Dinov2Model(
    transformers.Dinov2Config(
      hidden_size=config.dim,
      num_hidden_layers=config.depth,
      num_attention_heads=config.num_heads,
      patch_size=config.patch_size,
      image_size=config.patch_size * config.grid,
      use_swiglu_ffn=config.ffn == "swiglu",
    )
  ).save_pretrained(folder)


def environment(peer: str) -> dict[str, str]:
  """Environment variables that a peer's process needs."""
  if peer != "torch_avx512":
    return {}
  # MKL asks who made the CPU and gives others its AVX2 code; answer for it.
  folder = pathlib.Path(tempfile.mkdtemp())
  source, library = folder / "vendor.c", folder / "vendor.so"
  source.write_text("int mkl_serv_intel_cpu_true(void) { return 1; }\n")
  subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
  return {"LD_PRELOAD": str(library)}


PEERS = {
  function.__name__: function
  for function in (
    visual_memory,
    visual_memory_device_per_core,
    torch,
    torch_avx512,
    torch_compile,
    gemm,
  )
}


def main(peer: str, task: str) -> None:
  """Serves one peer until its input ends."""
  task = Task(**json.loads(task))
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task.threads])
  run, to_numpy = PEERS[peer](task)
  result = run()  # Compiles.
  print("@{}", flush=True)
  for line in sys.stdin:
    command, _, argument = line.strip().partition(" ")
    answer = {}
    if command == "run":
      start = time.perf_counter()
      result = run()
      answer["seconds"] = time.perf_counter() - start
    elif to_numpy is not None:
      np.save(argument, to_numpy(result))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer["peak_bytes"] = peak * 1024
    print("@" + json.dumps(answer), flush=True)


if __name__ == "__main__":
  main(*sys.argv[1:])
