"""An image encoder in several libraries, each in a process of its own.

  python -m experiments.benchmarks.encoder_peers PEER \
    '{"model": ..., "weights": ...}'

Answers lines on standard input: "run" embeds the batch once and prints the
seconds, "save PATH" writes the embeddings of the last run, [B, D]. jimm and
Equimo have random weights of their own, which take as long.
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
    model: a DINO or DINOv2 of `catalog.MODELS` without registers.
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
  """This project, with one CPU device for each core, or each image."""
  return _visual_memory(task, num_devices=min(task.threads, task.batch_size))


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
      params, pixels, config=config, precision=task.precision, patches=False
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

  config = _config(task.model)
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

  pytorch.set_num_threads(task.threads)
  device = "cuda" if pytorch.cuda.is_available() else "cpu"
  dtype = getattr(pytorch, task.precision)
  model = wrap(_transformers(task, dtype).to(device))
  pixels = pytorch.from_numpy(_channels_first(task)).to(device, dtype)

  def run():
    with pytorch.inference_mode():
      embeddings = model(pixels).last_hidden_state[:, 0]
    if device == "cuda":
      pytorch.cuda.synchronize()
    return embeddings

  return run, lambda embeddings: embeddings.float().cpu().numpy()


def onnxruntime(task):
  """The graph that torch exports, in ONNX Runtime."""
  import onnxruntime as ort
  import torch as pytorch

  pixels = _channels_first(task)
  with tempfile.TemporaryDirectory() as folder:
    path = str(pathlib.Path(folder) / "model.onnx")
    pytorch.onnx.export(
      _transformers(task, pytorch.float32),
      (pytorch.from_numpy(pixels),),
      path,
      dynamo=True,
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = task.threads
    session = ort.InferenceSession(path, options)
  inputs = {session.get_inputs()[0].name: pixels}
  return (lambda: session.run(None, inputs)[0]), lambda found: found[:, 0]


def jimm(task):
  """The package jax-image-models."""
  import jax
  import jimm as package
  from flax import nnx

  config = _config(task.model)
  build, options = package.DINOv2Model, {}
  if not config.layer_scale:
    build, options = package.VisionTransformer, {"do_classification": False}
  axes, auto = ("data", "fsdp", "tensor"), (jax.sharding.AxisType.Auto,) * 3
  jax.set_mesh(jax.make_mesh((1, 1, 1), axes, axis_types=auto))
  model = build(
    img_size=task.image_size,
    patch_size=config.patch_size,
    hidden_size=config.dim,
    num_layers=config.depth,
    num_heads=config.num_heads,
    mlp_dim=config.mlp_dim,
    **options,
  )
  graph, params = nnx.split(model)
  run = jax.jit(lambda params, pixels: nnx.merge(graph, params)(pixels))
  pixels = _pixels(task)
  pixels = _pixels(task)
  return lambda: jax.block_until_ready(run(params, pixels)), None


def equimo(task):
  """Equimo, one image mapped over the batch as its documents do."""
  import equinox
  import jax
  from equimo.vision import models

  names = {
    "dinov2_vits14": "dinov2_vits14",
    "dinov2_vitb14": "dinov2_vitb14",
    "dino_vitb16": "vit_base_patch16_224",
  }
  key = jax.random.key(_SEED)
  model = getattr(models, names[task.model])(img_size=task.image_size, key=key)
  model = equinox.nn.inference_mode(model)
  params, static = equinox.partition(model, equinox.is_array)

  @jax.jit
  def run(params, pixels):
    encode = equinox.combine(params, static).features
    return jax.vmap(lambda image: encode(image, key=key))(pixels)

  pixels = jax.device_put(_channels_first(task))
  return lambda: jax.block_until_ready(run(params, pixels)), None


def _config(model):
  from visual_memory.encoders.families import catalog

  return catalog.MODELS[model].image


def _transformers(task, dtype):
  """The model of transformers that the weights are of."""
  import transformers

  config = transformers.AutoConfig.from_pretrained(task.weights)
  options = {"add_pooling_layer": False} if config.model_type == "vit" else {}
  return transformers.AutoModel.from_pretrained(
    task.weights, dtype=dtype, **options
  ).eval()


def _channels_first(task):
  return _pixels(task).transpose(0, 3, 1, 2).copy()


def _pixels(task):
  shape = (task.batch_size, task.image_size, task.image_size, 3)
  return np.random.default_rng(_SEED).standard_normal(shape, np.float32)


def write_weights(model: str, folder: str | os.PathLike) -> None:
  """Random weights of a DINO or DINOv2 model, in the published layout."""
  import torch as pytorch
  import transformers

  config = _config(model)
  pytorch.manual_seed(_SEED)
  sizes = dict(
    num_hidden_layers=config.depth,
    num_attention_heads=config.num_heads,
    hidden_size=config.dim,
    layer_norm_eps=config.eps,
    patch_size=config.patch_size,
    image_size=config.patch_size * config.grid,
  )
  if config.layer_scale:
    swiglu = config.ffn == "swiglu"
    settings = transformers.Dinov2Config(**sizes, use_swiglu_ffn=swiglu)
    made = transformers.Dinov2Model(settings)
  else:
    settings = transformers.ViTConfig(**sizes, intermediate_size=config.mlp_dim)
    made = transformers.ViTModel(settings, add_pooling_layer=False)
  made.save_pretrained(folder)


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
    onnxruntime,
    jimm,
    equimo,
    gemm,
  )
}
UNCOMPARED = ("jimm", "equimo", "gemm")
"""Those that do not give the embeddings of the weights."""


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
