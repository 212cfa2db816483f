"""Meshes, shares and several processes: the same answers everywhere."""

import os
import pathlib
import socket
import subprocess
import sys

import memory_cases as cases
import numpy as np
import pytest

from visual_memory import distributed

WORKER = pathlib.Path(__file__).parent / "multiprocess" / "search_worker.py"
TIMEOUT_S = 3600  # Of processes that wait for each other for ever.


def free_port():
  """A port that was free a moment ago."""
  with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    return listener.getsockname()[1]


def run_processes(count, outputs):
  """Runs the worker in several processes, and fails with what they said."""
  address = f"127.0.0.1:{free_port()}"
  processes = [
    subprocess.Popen(
      [sys.executable, WORKER, outputs[index]],
      env=os.environ
      | {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(count),
        "JAX_PROCESS_ID": str(index),
      },
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(count)
  ]
  try:
    for process in processes:
      _, errors = process.communicate(timeout=TIMEOUT_S)
      assert process.returncode == 0, errors[-3000:]
  finally:
    for process in processes:
      process.kill()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
  """What each of two processes of two devices found."""
  folder = tmp_path_factory.mktemp("processes")
  outputs = [folder / f"{index}.npz" for index in range(2)]
  run_processes(2, outputs)
  return [np.load(output) for output in outputs]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_processes_and_devices_change_no_neighbor(two_processes, precision):
  for found in two_processes:
    assert found["devices"] == 4
  for devices in (1, 8):
    expected = cases.edit_and_search(
      distributed.make_mesh(devices), precision=precision
    )
    for name, near in expected.items():
      for found in two_processes:
        for field in ("ids", "labels", "similarities"):
          np.testing.assert_array_equal(
            found[f"{precision} {name} {field}"],
            getattr(near, field),
            err_msg=f"{devices} devices, {name}, {field}",
          )


def test_a_mesh_needs_devices():
  assert distributed.make_mesh(3).size == 3
  for count in (0, 9):
    with pytest.raises(ValueError, match=f"{count} devices .* run has 8"):
      distributed.make_mesh(count)


def test_no_rows_are_mapped_to_no_rows():
  found = distributed.map_rows(
    _doubled, (np.zeros((0, 3), np.float32),), np.ones(3),
    mesh=distributed.make_mesh(3), block=2,
  )  # fmt: skip
  assert found["doubled"].shape == (0, 3)


def _doubled(shared, rows):
  return {"doubled": rows + rows * shared[None]}


def test_shares_of_processes_are_disjoint_and_even():
  for rows in (0, 1, 7, 100):
    for count in (1, 3, 8):
      shares = [
        range(rows)[distributed.process_rows(rows, index=i, count=count)]
        for i in range(count)
      ]
      assert [row for share in shares for row in share] == list(range(rows))
      sizes = [len(share) for share in shares]
      assert max(sizes) - min(sizes) <= 1


def test_rows_are_sharded_whole_and_come_back(mesh):
  rows = np.arange(16 * 3, dtype=np.float32).reshape(16, 3)
  sharded = distributed.shard_rows(rows, mesh)
  assert sharded.sharding == distributed.row_sharding(mesh)
  assert len(sharded.addressable_shards) == mesh.size
  np.testing.assert_array_equal(distributed.gather(sharded), rows)
  np.testing.assert_array_equal(
    distributed.gather(distributed.replicate(rows, mesh)), rows
  )


def test_rows_that_do_not_divide_are_refused():
  mesh = distributed.make_mesh(8)
  with pytest.raises(ValueError, match="9 rows do not divide over 8 devices"):
    distributed.shard_rows(np.zeros((9, 2)), mesh)
  assert distributed.pad_to_multiple(9, 8) == 16
  assert distributed.pad_to_multiple(0, 8) == 8
