"""The planner against the compiler: same arguments, results and collectives."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from visual_memory import distributed
from visual_memory.memory import room
from visual_memory.memory.row_table import RowTable
from visual_memory.retrieval import planner

CASES = {
  # name: (rows, dim, k, queries, devices, precision, hardware)
  "gathered": (1_000_000, 384, 100, 512, 8, "float32", "cpu"),
  "exchanged": (4_000_000, 384, 100, 4096, 8, "float32", "h200"),
  "coarse": (1_000_000, 384, 100, 512, 1, "int8", "cpu"),
  "few queries": (300_000, 128, 10, 8, 8, "float32", "v5e"),
}


def plan_of(rows, dim, k, queries, devices, precision, hardware):
  return planner.estimate(
    num_rows=rows,
    dim=dim,
    k=k,
    num_queries=queries,
    num_devices=devices,
    precision=precision,
    hardware=planner.HARDWARE[hardware],
  )


def test_the_hosts_bytes_are_those_of_a_table():
  plan = plan_of(2_000_000, 64, 10, 8, 1, "float32", "cpu")
  ids = np.full(2_000_000, "", np.dtypes.StringDType())
  table = RowTable(ids, capacity=plan.shard_rows, next_serial=len(ids))
  table.find(ids[:1])
  keys = 8 * (plan.shard_rows - len(ids))  # Of rows alone.
  assert table.nbytes == room.host_bytes(plan.shard_rows) - keys


@pytest.mark.parametrize("name", CASES)
def test_figures_are_the_compilers(name):
  case = CASES[name]
  plan = plan_of(*case)
  compiled = planner.compile_search(
    plan, dim=case[1], k=case[2], mesh=distributed.make_mesh(case[4])
  )
  assert plan.argument_bytes == compiled.argument_bytes
  # The compiler counts the addresses of the results too.
  assert 0 <= compiled.output_bytes - plan.output_bytes <= 64
  assert plan.collective_bytes == compiled.collective_bytes
  # An upper bound, and not a wild one.
  ratio = compiled.temporary_bytes / plan.temporary_bytes
  assert 0.4 <= ratio <= 1.02


def test_bfloat16_arguments():
  case = (100_000, 256, 10, 64, 8, "bfloat16", "v5p")
  plan = plan_of(*case)
  compiled = planner.compile_search(
    plan, dim=256, k=10, mesh=distributed.make_mesh(8)
  )
  assert plan.argument_bytes == compiled.argument_bytes


def test_collectives_are_read_from_the_program():
  hlo = """
    %a = f32[4,100]{1,0} all-gather(%x), dimensions={1}
    %b = (s32[2,3]{1,0}, bf16[2,3]{1,0}) all-to-all(%y, %z)
    %c = f32[8]{0} get-tuple-element(%b), index=0
    %d = pred[16]{0} all-reduce-start(%w)
    %e = f32[] all-reduce(%v)
  """
  assert planner.collective_bytes(hlo) == 1600 + 24 + 12 + 16 + 4


def test_what_fits():
  def fits(rows, dim, devices, hardware, precision="float32"):
    case = (rows, dim, 100, 1024, devices, precision, hardware)
    return plan_of(*case).fits

  assert fits(10**9, 384, 256, "v5e")
  assert not fits(10**9, 1024, 256, "v5e")
  assert fits(10**9, 1024, 256, "v5p")
  assert not fits(10**9, 384, 8, "h100")


def test_time_scales_with_work_and_devices():
  base = (10**8, 384, 100, 1024, 8, "bfloat16", "h200")
  one = plan_of(*base)
  assert one.predicted_s > one.floor_s > 0
  twice = plan_of(2 * 10**8, *base[1:])
  assert twice.floor_s == pytest.approx(2 * one.floor_s, rel=0.05)
  # 2 N D Q operations over 8 devices at 989e12 per second.
  multiply_s = 2 * 1e8 * 384 * 1024 / 8 / 989e12
  assert one.floor_s == pytest.approx(multiply_s, rel=0.1)


def test_plan_command_prints_every_kind_of_hardware():
  root = pathlib.Path(__file__).parent.parent
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "experiments.plan",
      "--config=configs/plan.py:smoke",
    ],
    cwd=root,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  for name in planner.HARDWARE:
    assert f"\n{name} " in done.stdout
  assert "compiled" in done.stdout


def test_hardware_is_complete():
  for name, hardware in planner.HARDWARE.items():
    assert set(hardware.flops) == {"float32", "bfloat16", "int8"}, name
    values = dataclasses.asdict(hardware)
    assert values["source"] and values["memory_bytes"] > 1e9
