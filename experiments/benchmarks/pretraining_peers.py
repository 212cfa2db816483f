"""A step of DINO in two libraries, each in a process of its own.

  python -m experiments.benchmarks.pretraining_peers PEER TASK.json

Answers lines on standard input: "run" makes one step and prints its seconds.
This project's step begins with uint8 pictures and makes their views; torch's is
given views that are ready.
"""

import itertools
import json
import math
import os
import sys
import time

import numpy as np

from visual_memory import files


def visual_memory(task):
  """This project, as one device."""
  return _visual_memory(task, num_devices=1)


def visual_memory_2_devices(task):
  """This project, its batch split over two CPU devices."""
  return _visual_memory(task, num_devices=2)


def _visual_memory(task, num_devices):
  import jax

  jax.config.update("jax_num_cpu_devices", num_devices)
  import ml_collections

  from experiments import from_config
  from visual_memory import distributed
  from visual_memory.pretraining import step as step_lib
  from visual_memory.studies import pretraining

  config = ml_collections.ConfigDict(task["recipe"])
  settings = from_config.settings(config, pretraining.Settings)
  recipe = pretraining.make_recipe(settings)
  mesh = distributed.make_mesh()
  state = step_lib.init_state(recipe, mesh)
  step = step_lib.make_step(recipe, mesh)
  side = config.data.size
  shape = (recipe.batch_size, side, side, 3)
  images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  labels = np.arange(recipe.batch_size, dtype=np.int32)
  aspects = np.ones(recipe.batch_size, np.float32)
  given = [distributed.shard_rows(x, mesh) for x in (images, labels, aspects)]
  count = sum(x.size for x in jax.tree.leaves(state["student"]))

  def run():
    nonlocal state
    state, metrics = step(state, *given)
    return float(metrics["loss"])

  return run, count


def torch(task):
  """The same network, losses and update, written plainly."""
  import torch
  from torch import nn
  from torch.nn import functional

  torch.manual_seed(0)
  torch.set_num_threads(task["threads"])
  recipe = task["recipe"]
  views, head = recipe["views"], recipe["head"]
  patch, (dim, heads, mlp, depth) = task["patch_size"], task["widths"]
  side = views["global_size"] // patch
  channels = [3, *task["stem"]]
  with_mean = recipe["backbone"]["pooling"] == "class_and_mean"

  class ChannelNorm(nn.LayerNorm):
    def forward(self, x):
      return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

  class Network(nn.Module):
    def __init__(self):
      super().__init__()
      self.stem = nn.Sequential()
      for source, target in itertools.pairwise(channels):
        conv = nn.Conv2d(source, target, 3, stride=2, padding=1)
        self.stem.extend([conv, ChannelNorm(target), nn.GELU()])
      cell = patch >> len(task["stem"])
      self.patches = nn.Conv2d(channels[-1], dim, cell, cell)
      self.token = nn.Parameter(torch.zeros(1, 1, dim))
      self.class_position = nn.Parameter(torch.zeros(1, 1, dim))
      self.positions = nn.Parameter(0.02 * torch.randn(1, dim, side, side))
      block = nn.TransformerEncoderLayer(
        dim, heads, mlp, dropout=0.0, activation="gelu", batch_first=True,
        norm_first=True,
      )  # fmt: skip
      self.blocks = nn.TransformerEncoder(
        block, depth, norm=nn.LayerNorm(dim), enable_nested_tensor=False
      )
      self.head = nn.Sequential(
        nn.Linear(dim * (1 + with_mean), head["hidden"]), nn.GELU(),
        nn.Linear(head["hidden"], head["hidden"]), nn.GELU(),
        nn.Linear(head["hidden"], head["bottleneck"]),
      )  # fmt: skip
      bound = 1 / math.sqrt(head["bottleneck"])
      self.prototypes = nn.Parameter(
        torch.empty(head["prototypes"], head["bottleneck"])
        .uniform_(-bound, bound)
      )  # fmt: skip

    def embed(self, x):
      patches = self.patches(self.stem(x))
      places = self.positions
      if patches.shape[2:] != places.shape[2:]:
        places = functional.interpolate(
          places, patches.shape[2:], mode="bicubic"
        )
      patches = (patches + places).flatten(2).transpose(1, 2)
      token = (self.token + self.class_position).expand(len(x), -1, -1)
      tokens = self.blocks(torch.cat([token, patches], dim=1))
      said = tokens[:, 0]
      if with_mean:
        said = torch.cat([said, tokens[:, 1:].mean(dim=1)], dim=1)
      return said

    def forward(self, *sizes):
      rows = self.head(torch.cat([self.embed(x) for x in sizes]))
      directions = functional.normalize(self.prototypes, dim=1)
      return functional.normalize(rows, dim=1) @ directions.T

  student, teacher = Network(), Network()
  teacher.load_state_dict(student.state_dict())
  teacher.requires_grad_(False)
  decayed = [p for p in student.parameters() if p.ndim > 1]
  others = [p for p in student.parameters() if p.ndim <= 1]
  optimizer = torch.optim.AdamW(
    [{"params": decayed}, {"params": others, "weight_decay": 0.0}],
    lr=recipe["optimizer"]["learning_rate"],
    weight_decay=recipe["optimizer"]["weight_decay"],
  )
  count, batch = views["num_local"], recipe["batch_size"]
  shape = lambda n, size: (n * batch, 3, size, size)
  wide = torch.randn(shape(2, views["global_size"]))
  close = torch.randn(shape(count, views["local_size"]))
  center = torch.zeros(head["prototypes"])

  def run():
    nonlocal center
    with torch.no_grad():
      logits = teacher(wide)
      targets = functional.softmax((logits - center) / 0.04, dim=1)
      center = 0.9 * center + 0.1 * logits.mean(dim=0)
    said = functional.log_softmax(
      student(wide, close) / recipe["temperature"], dim=1
    ).split(batch)
    pairs = [
      -(target * log).sum(dim=1).mean()
      for i, target in enumerate(targets.split(batch))
      for j, log in enumerate(said)
      if i != j
    ]
    loss = torch.stack(pairs).mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(student.parameters(), recipe["optimizer"]["clip"])
    optimizer.step()
    with torch.no_grad():
      torch._foreach_lerp_(
        list(teacher.parameters()), list(student.parameters()), 0.004
      )
    return float(loss)

  return run, sum(p.numel() for p in student.parameters())


PEERS = {f.__name__: f for f in (visual_memory, visual_memory_2_devices, torch)}


def main(peer: str, task: str) -> None:
  """Serves one peer until its input ends."""
  task = files.read_json(task)
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task["threads"]])
  run, num_params = PEERS[peer](task)
  for _ in range(2):  # Compiles; lets pools and caches settle.
    run()
  print("@{}", flush=True)
  for _ in sys.stdin:
    start = time.perf_counter()
    loss = run()
    seconds = time.perf_counter() - start
    answer = {"seconds": seconds, "loss": loss, "num_params": num_params}
    print("@" + json.dumps(answer), flush=True)


if __name__ == "__main__":
  main(*sys.argv[1:])
