"""The compiled search, and the planner against the compiler."""

import dataclasses
import pathlib
import subprocess

import memory_cases as cases
import numpy as np
import pytest
import retrieval_exact_test as hard
import retrieval_exactness_test as harder

from visual_memory import distributed
from visual_memory.memory import room
from visual_memory.memory.coarse import PRECISIONS
from visual_memory.memory.row_table import RowTable
from visual_memory.native import library
from visual_memory.retrieval import (
  certified,
  exact,
  on_host,
  planner,
  reference,
  scan,
)

needs_native = pytest.mark.skipif(
  library.functions() is None, reason="no C++ compiler, or no AVX2"
)


@pytest.fixture
def only_native(monkeypatch):
  """Nothing else may answer."""

  def refuse(*_, **__):
    raise AssertionError("not by compiled code")

  monkeypatch.setattr(certified, "search", refuse)
  monkeypatch.setattr(scan, "search", refuse)


@needs_native
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", hard.ROWS)
def test_finds_the_true_neighbors(name, precision, mesh, only_native):
  rows = hard.ROWS[name]
  queries = hard.queries_for(rows)
  memory = cases.memory_of(rows, mesh=mesh, precision=precision)
  for k in (1, 10, len(rows)):
    near = exact.search(queries, memory, k=k)
    cases.assert_exact(near, queries, rows, k=k)
    assert near.num_redone == 0


@needs_native
@pytest.mark.parametrize("devices, precision", [(1, "float32"), (3, "int8")])
def test_hard_cases_equal_numpy(devices, precision, only_native):
  assert not harder.run(
    3, devices=devices, precision=precision, ks=(1, 10, harder.NUM_ROWS)
  )


@needs_native
@pytest.mark.parametrize("dim", [1, 15, 16, 50, 130])
@pytest.mark.parametrize(
  "count, precision",
  [(1, "int8"), (15, "int8"), (15, "float32"), (23, "int8"), (67, "float32")],
)
def test_any_dimension_and_number_of_queries(
  dim, count, precision, only_native, monkeypatch
):
  monkeypatch.setattr(on_host, "_PRODUCTS_PER_THREAD", 1)
  monkeypatch.setattr(on_host.parallel, "num_cores", lambda: 3)
  rows = cases.random_rows(1300, dim, seed=dim)
  memory = cases.memory_of(
    rows, mesh=distributed.make_mesh(2), precision=precision
  )
  queries = cases.random_rows(count, dim, seed=5)
  for k in (3, 200):
    near = exact.search(queries, memory, k=k)
    cases.assert_exact(near, queries, rows, k=k)


@needs_native
@pytest.mark.parametrize(
  "precision, count", [("float32", 3), ("int8", 3), ("float32", 40)]
)
def test_more_ties_than_are_kept(precision, count, only_native, monkeypatch):
  monkeypatch.setattr(on_host, "_PRODUCTS_PER_THREAD", 1 << 16)  # Threads.
  rows = np.repeat(cases.random_rows(2, 8), 40_000, axis=0)
  memory = cases.memory_of(
    rows, mesh=distributed.make_mesh(1), precision=precision
  )
  queries = cases.random_rows(count, 8, seed=1)
  queries = np.concatenate([queries, np.zeros((1, 8))])
  near = exact.search(queries.astype(np.float32), memory, k=7)
  cases.assert_exact(near, queries.astype(np.float32), rows, k=7)


@needs_native
def test_a_coarse_copy_may_lie(only_native):
  # The scale of the first row alone: the others' copies are clipped.
  rows = cases.random_rows(600, 24)
  rows[0] = 1 / np.sqrt(24)
  memory = cases.memory_of(rows[:1], precision="int8", capacity=600)
  memory = memory.add(cases.embedded_rows(rows[1:], first_id=1))
  queries = cases.random_rows(9, 24, seed=2)
  near = exact.search(queries, memory, k=12)
  positions, similarities = reference.search(queries, rows, k=12)
  np.testing.assert_array_equal(near.indices, positions)
  np.testing.assert_array_equal(near.similarities, similarities)


@needs_native
def test_each_query_is_left_out_of_its_own_neighbors(mesh, only_native):
  rows = hard.ROWS["duplicates"]
  memory = cases.memory_of(rows, mesh=mesh)
  ids = memory.embedded().ids[:24]
  near = exact.search(rows[:24], memory, k=10, exclude_self=ids)
  full = exact.search(rows[:24], memory, k=11)
  for found, all_found, own in zip(near.ids, full.ids, ids, strict=True):
    assert list(found) == [x for x in all_found if x != own][:10]


@needs_native
def test_the_floor_leaves_out_nothing_above_it():
  rows, queries = cases.random_rows(500, 8), cases.random_rows(6, 8, seed=1)
  memory = cases.memory_of(rows)
  nobody = np.full(6, -1, np.int32)
  full = np.full(6, -np.inf, np.float32)
  expected = on_host.search(queries, memory.rows, nobody, full, k=20)
  floor = expected.similarities[:, 9].copy()
  floor[5] = np.inf
  found = on_host.search(queries, memory.rows, nobody, floor, k=20)
  assert (found.slots[:5, :10] == expected.slots[:5, :10]).all()
  assert (found.slots[5] == -1).all()
  assert np.isneginf(found.similarities[5]).all()


@needs_native
def test_nothing_is_compiled_for_another_shape(mesh, only_native):
  memory = cases.memory_of(hard.BASE, mesh=mesh)
  with cases.counted_compilations() as compilations:
    for count, k in ((1, 1), (3, 7), (40, 100)):
      exact.search(hard.BASE[:count], memory, k=k)
  assert not compilations


@needs_native
@pytest.mark.parametrize("dim", [5, 32, 75])
def test_int8_copies_are_those_of_other_devices(dim, monkeypatch):
  rows = cases.random_rows(700, dim)
  rows[3] = np.eye(dim)[2]  # Clipped.
  made = cases.memory_of(rows, precision="int8").rows.coarse
  monkeypatch.setenv("VISUAL_MEMORY_NATIVE", "0")
  other = cases.memory_of(rows, precision="int8").rows.coarse
  np.testing.assert_allclose(made.scale, other.scale, rtol=1e-6)
  # A quotient midway between two steps may be rounded to either.
  steps = np.abs(np.asarray(made.values, np.int16) - np.asarray(other.values))
  assert steps.max() <= 1 and (steps > 0).mean() < 1e-3
  np.testing.assert_allclose(made.residuals, other.residuals, rtol=1e-4)


def test_without_a_compiler_the_answers_are_the_same(monkeypatch):
  # A program of retrieval_exactness_test.py.
  rows, queries = harder.duplicates(np.random.default_rng(0))
  memory = cases.memory_of(rows, mesh=distributed.make_mesh(1))
  expected = exact.search(queries, memory, k=10)
  monkeypatch.setenv("VISUAL_MEMORY_NATIVE", "0")
  assert library.functions() is None
  cases.assert_same(exact.search(queries, memory, k=10), expected)


@pytest.mark.parametrize("error", [OSError("no room"), None])
def test_a_compiler_that_fails_is_told_and_done_without(error, monkeypatch):
  if not {"avx2", "fma"} <= library.instructions():
    pytest.skip("nothing is compiled for this processor")

  def fail(compiler):
    raise error or subprocess.CalledProcessError(1, compiler, stderr="bad flag")

  monkeypatch.setattr(library, "_built", fail)
  monkeypatch.setattr(library.shutil, "which", lambda name: name)
  library._functions.cache_clear()
  try:
    with pytest.warns(UserWarning, match="no room|bad flag"):
      assert library.functions() is None
  finally:
    library._functions.cache_clear()


def test_is_compiled_into_the_users_cache(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  calls = []

  def compile_nothing(command, **_):
    calls.append(command)
    pathlib.Path(command[-1]).touch()

  monkeypatch.setattr(library.subprocess, "run", compile_nothing)
  first, again = library._built("cc"), library._built("cc")
  assert first == again and first.parent == tmp_path / "visual_memory"
  assert len(calls) == 1 and first.exists()
  assert library._built("c++") != first  # Another compiler's is another file.


CASES = {
  # name: (rows, dim, k, queries, devices, precision, hardware)
  "gathered": (1_000_000, 384, 100, 512, 8, "float32", "cpu"),
  "exchanged": (4_000_000, 384, 100, 4096, 8, "float32", "h200"),
  "coarse": (1_000_000, 384, 100, 512, 1, "int8", "cpu"),
  "few queries": (300_000, 128, 10, 8, 8, "bfloat16", "v5e"),
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


def test_hardware_is_complete():
  for name, hardware in planner.HARDWARE.items():
    assert set(hardware.flops) == {"float32", "bfloat16", "int8"}, name
    values = dataclasses.asdict(hardware)
    assert values["source"] and values["memory_bytes"] > 1e9
