"""How long every analysis of neighbors takes, on made-up neighbors.

  python -m experiments.benchmarks.analyses \\
      --config=configs/benchmark_analyses.py --workdir=DIR

No retrieval: everything starts from Q x k neighbors. Writes analyses.json.
"""

import functools
import time

import numpy as np

from experiments import terminal
from visual_memory import distributed, files
from visual_memory.analysis import (
  aggregation,
  calibration,
  confidence,
  influence,
  label_noise,
  ood,
  pruned_votes,
  pruning,
)
from visual_memory.reports import workdir
from visual_memory.types import Neighbors, embedded_set
from visual_memory.voting import queries as queries_lib
from visual_memory.voting.weighting import published_settings, setting


def main(config, path) -> None:
  """Times every analysis twice: with compilation, and after it."""
  path.mkdir(parents=True, exist_ok=True)
  made_up = _made_up(config)
  seconds = {}
  for name, analyse in _analyses(config, *made_up).items():
    times = []
    for _ in range(1 + config.repeats):
      start = time.perf_counter()
      analyse()
      times.append(time.perf_counter() - start)
    seconds[name] = {"first_s": times[0], "median_s": np.median(times[1:])}
    print(f"{name:45} {seconds[name]['median_s']:7.3f} s")
  files.write_json(
    path / "analyses.json",
    {
      "config": config.to_dict(),
      "seconds": seconds,
      "env": workdir.environment(mesh=distributed.make_mesh()),
    },
  )


def _analyses(config, held_out, tuning, embedded, tuning_rows):
  """What is timed, by name."""
  near, labels, ks = held_out.near, held_out.labels, range(1, config.k + 1)
  common = {"num_classes": config.num_classes}
  noise = label_noise.pairwise_noise(config.num_classes)

  def sweep(voter, values):
    return aggregation.sweep(
      held_out, tuning, voter=voter, values=values, ks=ks, **common
    )

  def noisy():
    return label_noise.noise_curve(
      held_out, tuning, embedded, tuning_rows, noise=noise,
      fractions=np.linspace(0, 1, 11).tolist(), seeds=(0,),
      settings={"rank": setting("rank")}, ks=(1, 10, 100),
    )  # fmt: skip

  return {
    "four voters, all k, chosen, with intervals": lambda: (
      aggregation.compare_voters(
        held_out, tuning, settings=published_settings(), ks=ks, seed=0, **common
      )
    ),
    "rank's offset at 21 values, all k": lambda: sweep(
      "rank", [1.0, 1.5, *map(float, range(2, 21))]
    ),
    "softmax's temperature at 17 values, all k": lambda: sweep(
      "softmax", np.geomspace(0.005, 1, 17).tolist()
    ),
    "reliability with its fit": lambda: calibration.fit_logarithm(near, labels),
    "hit rate": lambda: calibration.hit_rate(near, labels),
    "calibration and abstention of one voter": lambda: (
      confidence.confident_votes(
        held_out, tuning, settings={"rank": setting("rank")}, ks=(10, 50),
        num_bins=15, promises=(0.8, 0.9), **common,
      )
    ),
    "counts": lambda: calibration.count_bins(near, labels, k=config.k),
    "entropy": lambda: calibration.entropy_bins(
      near, labels, k=config.k, **common
    ),
    "label noise, one kind and seed, 11 fractions": noisy,
    "distance detection, 3 scores at 3 k": lambda: ood.detect_each(
      near, tuning.near, ks=(1, 10, config.k)
    ),
    "AUROC of the k-th distance, all k": lambda: ood.auroc_by_k(
      near, tuning.near
    ),
    "whether neighbors are rows": lambda: near.check_rows(embedded.ids),
    **_removals(config, held_out, embedded.ids),
  }  # fmt: skip


def _removals(config, held_out, row_ids):
  """Analyses of what rows do, by name."""
  near, labels, k = held_out.near, held_out.labels, config.k - 1
  wrong, _ = pruning.wrong_counts(near, labels, row_ids, k=k)
  often = int(np.quantile(wrong, 0.9))
  half = max(1, config.k // 2)

  def prune(treatments):
    for treatment in treatments:
      pruned_votes.answers(
        near, treatment, settings=tuple(published_settings().values()),
        ks=range(1, half + 1), num_classes=config.num_classes, search=_unasked,
      )  # fmt: skip

  return {
    "wrong counts": lambda: pruning.wrong_counts(near, labels, row_ids, k=k),
    "hard pruning refilled, four voters": lambda: prune(
      pruned_votes.hard(wrong, (often,))
    ),
    "soft pruning, four voters": lambda: prune(
      pruned_votes.soft(wrong, scales=(1.75,), exponents=(1.0,))
    ),
    **{
      f"effect of removing every row, {name}": functools.partial(
        influence.removal_effects, near, labels, row_ids, chosen, k=k,
        num_classes=config.num_classes,
      )
      for name, chosen in published_settings().items()
    },
  }  # fmt: skip


def _made_up(config):
  """Held-out and tuning queries, rows, and the positions of tuning rows."""
  rng = np.random.default_rng(0)
  rows = embedded_set(
    np.zeros((config.num_rows, 1), np.float32),
    rng.integers(0, config.num_classes, config.num_rows),
    [f"row{i}" for i in range(config.num_rows)],
    class_names=[str(c) for c in range(config.num_classes)],
    fingerprint="made up",
  )
  by_class = np.argsort(rows.labels, kind="stable")
  starts = np.searchsorted(rows.labels[by_class], range(config.num_classes))
  sizes = np.bincount(rows.labels, minlength=config.num_classes)

  def neighbors(labels):
    own = starts[labels][:, None] + rng.integers(
      0, sizes[labels][:, None], (len(labels), config.k)
    )
    any_row = rng.integers(0, config.num_rows, own.shape)
    places = np.where(rng.random(own.shape) < 0.5, by_class[own], any_row)
    similarities = -np.sort(-rng.random(own.shape, np.float32), axis=1)
    return Neighbors(
      ids=rows.ids[places],
      indices=places.astype(np.int32),
      labels=rows.labels[places],
      similarities=similarities,
    )

  labels = rng.integers(0, config.num_classes, config.num_queries)
  held_out = queries_lib.held_out_queries(
    neighbors(labels), labels, [f"query{i}" for i in range(len(labels))]
  )
  own = np.arange(0, config.num_rows, 10)
  tuning = queries_lib.tuning_queries(
    neighbors(rows.labels[own]),
    rows.labels[own],
    [f"tune{i}" for i in own],
    held_out=held_out,
  )
  return held_out, tuning, rows, own


def _unasked(*rest):
  """No made-up query runs short of neighbors."""
  raise AssertionError(rest)


if __name__ == "__main__":
  terminal.run(main)
