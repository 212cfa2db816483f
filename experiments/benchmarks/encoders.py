"""Times the image encoders against other libraries, side by side.

  python -m experiments.benchmarks.encoders \\
      --config=configs/benchmark_encoders.py[:smoke|:gpu] --workdir=DIR

Every peer has a process of its own, all on the same cores, with the same
weights and images. They take turns, round after round, and a peer's ratio to
another is the median over rounds, so that a machine that slows down for a
while slows both.
"""

import json
import pathlib
import statistics
import sys

import numpy as np
from absl import logging

from experiments import terminal
from experiments.benchmarks import encoder_peers, peers
from visual_memory import files
from visual_memory.reports import workdir

_RESULTS = "benchmark_encoders.json"


def main(config, path) -> None:
  """Times every case of the config and writes JSON."""
  path.mkdir(parents=True, exist_ok=True)
  report = {
    "config": config.to_dict(),
    "environment": workdir.environment(),
    "cpu": peers.cpu(),
    "cases": [],
  }
  for model in config.models:
    weights = path / "weights" / model
    encoder_peers.write_weights(model, weights)
    for batch_size in config.batch_sizes:
      logging.info("Case %s, batch %d", model, batch_size)
      task = encoder_peers.Task(
        model=model,
        weights=str(weights),
        batch_size=batch_size,
        image_size=config.image_size,
        precision=config.precision,
        threads=config.threads,
      )
      report["cases"].append(_time_case(path, config, task))
      files.write_json(path / _RESULTS, report)
      print(_table(report["cases"][-1]), flush=True)


def _time_case(path: pathlib.Path, config, task: encoder_peers.Task) -> dict:
  """All peers on one batch: images per second, ratios, agreement."""
  found = {}
  commands = {name: _command(name, task) for name in config.peers}
  remedy = (
    "pip install torch transformers onnxruntime onnxscript jax-image-models"
    " equimo"
  )
  with peers.running(commands, remedy=remedy) as started:
    rounds = [
      {name: peer.ask("run") for name, peer in started.items()}
      for _ in range(config.num_rounds)
    ]
    for name, peer in started.items():
      if name.partition("@")[0] not in encoder_peers.UNCOMPARED:
        peer.ask(f"save {path / 'found.npy'}")
        found[name] = np.load(path / "found.npy")
  (path / "found.npy").unlink(missing_ok=True)
  return {
    "model": task.model,
    "batch_size": task.batch_size,
    "peers": _summaries(rounds, found, task.batch_size),
  }


def _summaries(rounds, found, batch_size) -> dict[str, dict]:
  """What is reported of each peer."""
  seconds = {name: [r[name]["seconds"] for r in rounds] for name in rounds[0]}
  summaries = {}
  for name, times in seconds.items():
    summaries[name] = {
      "seconds": times,
      "images_per_s": batch_size / statistics.median(times),
      "best_images_per_s": batch_size / min(times),
      "peak_bytes": rounds[-1][name]["peak_bytes"],
    }
    for other in seconds:
      if other.startswith(("torch", "onnx", "gemm")) and other != name:
        summaries[name][f"speed_over_{other}"] = peers.median_ratio(
          times, seconds[other]
        )
    if name in found and "torch" in found:
      summaries[name]["cosine_distance_to_torch"] = _cosine_distance(
        found[name], found["torch"]
      )
  return summaries


def _cosine_distance(mine: np.ndarray, its: np.ndarray) -> float:
  """The largest of 1 - cosine over the images of a batch."""
  mine, its = mine.astype(np.float64), its.astype(np.float64)
  lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(its, axis=1)
  return float(np.max(1 - np.sum(mine * its, axis=1) / lengths))


def _command(name: str, task: encoder_peers.Task):
  """What starts a peer: command and environment."""
  name, _, python = name.partition("@")
  module = ["-m", "experiments.benchmarks.encoder_peers", name]
  command = [python or sys.executable, *module, json.dumps(vars(task))]
  return command, encoder_peers.environment(name)


def _table(case: dict) -> str:
  """A case as lines of text, fastest first."""
  lines = [
    f"\n{case['model']}, batch {case['batch_size']}",
    f"{'':32}{'images/s':>9}{'best':>8}{'/ torch':>9}",
  ]
  by_speed = sorted(
    case["peers"].items(), key=lambda item: -item[1]["images_per_s"]
  )
  for name, peer in by_speed:
    ratio = peer.get("speed_over_torch", 1.0)
    lines.append(
      f"{name:32}{peer['images_per_s']:9.2f}{peer['best_images_per_s']:8.2f}"
      f"{ratio:9.2f}"
    )
  return "\n".join(lines)


if __name__ == "__main__":
  terminal.run(main)
