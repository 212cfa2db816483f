"""Times a step of pretraining against a plain one of torch, side by side.

  python -m experiments.benchmarks.pretraining \\
      --config=configs/benchmark_pretraining.py[:stem] --workdir=DIR

Every peer has a process of its own, all on the same cores; they take turns, and
a ratio is the median over rounds. Ours makes the views of its pictures, torch's
are ready.
"""

import statistics
import sys

from experiments import terminal
from experiments.benchmarks import peers
from visual_memory import files
from visual_memory.encoders.settings import vit
from visual_memory.reports import workdir


def main(config, path) -> None:
  """Times every peer and writes JSON."""
  path.mkdir(parents=True, exist_ok=True)
  backbone = config.recipe.backbone
  network = vit(
    backbone.name,
    image_size=backbone.image_size,
    patch_size=backbone.patch_size,
    **backbone.changes,
  )
  task = path / "task.json"
  files.write_json(
    task,
    {
      "recipe": config.recipe.to_dict(),
      "threads": config.threads,
      "patch_size": backbone.patch_size,
      "widths": [
        network.dim,
        network.num_heads,
        network.mlp_dim,
        network.depth,
      ],
      "stem": list(network.stem),
    },
  )
  module = ["-m", "experiments.benchmarks.pretraining_peers"]
  commands = {
    name: ([sys.executable, *module, name, str(task)], {})
    for name in config.peers
  }
  with peers.running(commands, remedy="pip install torch") as started:
    rounds = [
      {name: peer.ask("run") for name, peer in started.items()}
      for _ in range(config.num_rounds)
    ]
  seconds = {name: [r[name]["seconds"] for r in rounds] for name in rounds[0]}
  found = {}
  for name, times in seconds.items():
    found[name] = {
      "seconds": times,
      "images_per_s": config.recipe.batch_size / statistics.median(times),
      "num_params": rounds[0][name]["num_params"],
      "loss": [r[name]["loss"] for r in rounds],
    }
    if "torch" in seconds:
      found[name]["speed_over_torch"] = peers.median_ratio(
        times, seconds["torch"]
      )
    ratio = found[name].get("speed_over_torch", float("nan"))
    print(f"{name:26}{found[name]['images_per_s']:8.1f} images/s{ratio:7.2f}x")
  files.write_json(
    path / "benchmark_pretraining.json",
    {
      "config": config.to_dict(),
      "environment": workdir.environment(),
      "cpu": peers.cpu(),
      "peers": found,
    },
  )


if __name__ == "__main__":
  terminal.run(main)
