"""Prints what a search costs on several kinds of hardware.

python -m experiments.plan --config=configs/plan.py [--config.dim=1024 ...]
"""

import time

import jax

from experiments import terminal
from visual_memory import distributed
from visual_memory.memory import room
from visual_memory.retrieval import planner

_HEADER = (
  f"{'device':8}{'GB/device':>10}{'of':>6}{'fits':>6}{'collective MB':>15}"
  f"{'floor ms':>10}{'predicted ms':>14}{'queries/s':>11}"
)


def main(config, _) -> None:
  """Plans, prints, and holds one plan against the compiler's account."""
  sizes = {
    name: config[name]
    for name in ("num_rows", "dim", "k", "num_queries", "num_devices")
  }
  print(
    f"{config.num_rows:,} rows of {config.dim} dimensions over"
    f" {config.num_devices} devices, {config.precision} first pass,"
    f" {config.num_queries:,} queries per call, k = {config.k}\n\n{_HEADER}"
  )
  for name in config.hardware.split(","):
    hardware = _hardware(name)
    plan = planner.estimate(
      **sizes, precision=config.precision, hardware=hardware
    )
    print(_line(name, plan, hardware, config.num_queries))
  host_bytes = room.host_bytes(plan.shard_rows * config.num_devices)
  print(f"\nHost, in each process: {host_bytes / 1e9:.2f} GB of ids")
  if config.compiled:
    plan = planner.estimate(
      **sizes,
      precision=config.precision,
      hardware=_hardware(config.compiled),
    )
    _compare(config.compiled, plan, config)


def _hardware(name: str) -> planner.Hardware:
  if name not in planner.HARDWARE:
    raise ValueError(
      f"No hardware {name!r}; there are {', '.join(planner.HARDWARE)}."
    )
  return planner.HARDWARE[name]


def _line(name, plan, hardware, num_queries) -> str:
  """One row of the table."""
  return (
    f"{name:8}{plan.device_bytes / 1e9:10.2f}{hardware.memory_bytes / 1e9:6.0f}"
    f"{'yes' if plan.fits else 'NO':>6}{plan.collective_bytes / 1e6:15.1f}"
    f"{plan.floor_s * 1e3:10.2f}{plan.predicted_s * 1e3:14.2f}"
    f"{num_queries / plan.predicted_s:11,.0f}"
  )


def _compare(name, plan, config) -> None:
  """Compiles one plan and prints both accounts."""
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_num_cpu_devices", config.num_devices)
  mesh = distributed.make_mesh(config.num_devices)
  start = time.perf_counter()
  compiled = planner.compile_search(plan, dim=config.dim, k=config.k, mesh=mesh)
  seconds = time.perf_counter() - start
  print(
    f"\n{name}'s program, compiled for {config.num_devices} simulated devices"
    f" in {seconds:.1f} s; bytes per device:\n{'':12}{'planned':>16}"
    f"{'compiled':>16}"
  )
  for what in ("argument", "output", "temporary", "collective"):
    field = f"{what}_bytes"
    print(f"{what:12}{getattr(plan, field):16,}{getattr(compiled, field):16,}")


if __name__ == "__main__":
  terminal.run(main, required=("config",))
