"""Times exact search against its peers, side by side.

  python -m experiments.benchmarks.retrieval \\
      --config=configs/benchmark_retrieval.py[:smoke] --workdir=DIR

Every peer has a process of its own, all on the same cores. They take turns,
round after round, and a peer's ratio to another is the median over rounds, so
that a machine that slows down for a while slows both. The same command goes on
with the cases that are left.
"""

import importlib.util
import pathlib
import statistics
import sys

import numpy as np
from absl import logging

from experiments import terminal
from experiments.benchmarks import peers, retrieval_peers
from experiments.benchmarks import rows as rows_lib
from visual_memory import files
from visual_memory.reports import plots, workdir


def main(config, path) -> None:
  """Times every case of the config and writes JSON and figures."""
  path.mkdir(parents=True, exist_ok=True)
  kind = peers.processor()
  name = (
    f"benchmark_retrieval_{kind.lower().replace(' ', '_').replace('-', '')}"
  )
  report = {
    "config": config.to_dict(),
    "environment": workdir.environment(),
    "processor": kind,
    "cpu": peers.cpu(),
    "openblas_core": retrieval_peers.openblas_core(),
    "cases": [],
  }
  timed = _timed(path / f"{name}.json", report)
  for case in _cases(config):
    earlier = [known for known in timed if case.items() <= known.items()]
    if earlier:
      report["cases"] += earlier
      continue
    logging.info("Case %s", case)
    report["cases"].append(case | _time_case(path, config, **case))
    files.write_json(path / f"{name}.json", report)
    files.write_text(path / f"{name}.md", _summary(kind, report["cases"]))
    print(_table(report["cases"][-1]), flush=True)
  _draw(path / name, config, report["cases"])


def _cases(config) -> list[dict]:
  """The base case, then every sweep with the other sizes as in the base."""
  base = config.base.to_dict()
  cases = [base]
  for name, values in config.sweeps.items():
    cases += [base | {name: value} for value in values]
  return [case for i, case in enumerate(cases) if case not in cases[:i]]


def _timed(path, report) -> list[dict]:
  """What a run of the same config, code and machine has timed before."""

  def source(of):
    return of | {
      "cases": None,
      "environment": {**of["environment"], "command": ""},
    }

  earlier = files.read_json(path) if path.exists() else report
  same = source(earlier) == source(files.plain(report))
  return earlier["cases"] if same else []


def _time_case(path, config, *, rows, num_rows, dim, num_queries, k) -> dict:
  """All peers on one problem: seconds of each round, ratios, agreement."""
  made, queries = rows_lib.ROWS[rows](
    num_rows=num_rows, dim=dim, num_queries=num_queries
  )
  np.save(path / "rows.npy", made)
  np.save(path / "queries.npy", queries)
  names = [
    name
    for name in config.peers
    if made.size <= config.most_values.get(name, made.size)
    # No dependency of ours asks for PyTorch.
    and (name != "torch_top_k" or importlib.util.find_spec("torch"))
  ]
  del made
  commands = {name: _command(name, path, k, config.threads) for name in names}
  remedy = "pip install 'visual_memory[bench]'"
  with peers.running(commands, remedy=remedy) as started:
    rounds = [
      {name: peer.ask("run") for name, peer in started.items()}
      for _ in range(config.num_rounds)
    ]
    found, peaks = {}, {}
    for name, peer in started.items():
      peaks[name] = peer.ask(f"save {path / 'found.npy'}")["peak_bytes"]
      found[name] = np.load(path / "found.npy")
  for name in ("rows.npy", "queries.npy", "found.npy"):
    (path / name).unlink()
  return {"peers": _summaries(rounds, found, peaks)}


def _summaries(rounds, found, peaks) -> dict[str, dict]:
  """What is reported of each peer."""
  seconds = {name: [r[name]["seconds"] for r in rounds] for name in rounds[0]}
  summaries = {}
  for name, times in seconds.items():
    summaries[name] = {
      "seconds": times,
      "median_s": statistics.median(times),
      "min_s": min(times),
      "peak_bytes": peaks[name],
      **{n: v for n, v in rounds[-1][name].items() if n != "seconds"},
    }
    if name != "gemm":
      summaries[name]["agreement"] = _agreement(found, name)
    for other in ("gemm", "faiss_flat_tuned", "faiss_flat"):
      if other in seconds:
        summaries[name][f"{other}_time_over_this"] = peers.median_ratio(
          times, seconds[other]
        )
  return summaries


def _agreement(found, name) -> float | None:
  """The fraction of our neighbors that a peer found too, in any order."""
  if "visual_memory_float32" not in found:
    return None
  ours = found["visual_memory_float32"]
  return float(
    np.mean(
      [
        np.isin(a, b).mean()
        for a, b in zip(ours, found[name].astype(np.int64), strict=True)
      ]
    )
  )


def _command(name: str, path: pathlib.Path, k: int, threads: int):
  """What starts a peer: command and environment."""
  arguments = [name, path / "rows.npy", path / "queries.npy", k, threads]
  command = [sys.executable, "-m", "experiments.benchmarks.retrieval_peers"]
  command += [str(argument) for argument in arguments]
  return command, retrieval_peers.environment(name, threads)


def _table(case) -> str:
  """A case as lines of text, fastest first."""
  sizes = {name: value for name, value in case.items() if name != "peers"}
  lines = [
    f"\n{sizes}",
    f"{'':24}{'median ms':>10}{'min ms':>9}{'GEMM/this':>11}",
  ]
  by_time = sorted(case["peers"].items(), key=lambda item: item[1]["median_s"])
  for name, peer in by_time:
    ratio = peer.get("gemm_time_over_this", float("nan"))
    lines.append(
      f"{name:24}{peer['median_s'] * 1e3:10.1f}{peer['min_s'] * 1e3:9.1f}"
      f"{ratio:11.2f}"
    )
  return "\n".join(lines)


def _summary(kind, cases) -> str:
  """All cases as a table in Markdown: milliseconds, ours as many times faiss.

  Cases stand in rows and peers in columns; what was left out has a dash.
  """
  names = list(dict.fromkeys(name for case in cases for name in case["peers"]))
  head = ["rows", "N", "D", "Q", "k", *names, "faiss / ours"]
  lines = [f"On {kind}, ms:\n", "| " + " | ".join(head) + " |"]
  lines.append("|---" * len(head) + "|")
  for case in cases:
    found = case["peers"]
    sizes = ("rows", "num_rows", "dim", "num_queries", "k")
    cells = [str(case[size]) for size in sizes]
    cells += [
      f"{found[name]['median_s'] * 1e3:.1f}" if name in found else "-"
      for name in names
    ]
    ratio = found.get("visual_memory", {}).get(
      "faiss_flat_tuned_time_over_this"
    )
    cells.append(f"{ratio:.2f}" if ratio else "-")
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines) + "\n"


def _draw(start, config, cases) -> None:
  """Time, and the share of the floor, against each size that was swept.

  Args:
    start: of the figures' paths.
    config: the config.
    cases: what was timed.
  """
  base = config.base.to_dict()
  for size in config.sweeps:
    if isinstance(base[size], str):
      continue  # Kinds of rows have no order to draw them in.
    along = [
      case
      for case in cases
      if all(case[name] == base[name] for name in base if name != size)
    ]
    for value, label in (
      ("median_s", "seconds"),
      ("gemm_time_over_this", "time of the matrix product / time"),
    ):
      lines = {}
      for case in sorted(along, key=lambda case: case[size]):
        for name, peer in case["peers"].items():
          if value in peer:
            lines.setdefault(name, {})[case[size]] = peer[value]
      svg = plots.curves(
        lines,
        name=f"{size} {value}",
        x_label=size,
        y_label=label,
        x_log=True,
        y_log=True,
        size=(6.4, 4.2),
      )
      files.write_text(f"{start}_{value}_by_{size}.svg", svg)


if __name__ == "__main__":
  terminal.run(main)
