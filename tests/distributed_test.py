"""Meshes, shares and processes, by variables of simulated launchers too."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import memory_cases as cases
import numpy as np
import pytest

from visual_memory import distributed, launchers

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


STEP = {
  "SLURM_JOB_ID": "77",
  "SLURM_NTASKS": "4",
  "SLURM_STEP_NUM_TASKS": "4",
  "SLURM_STEP_NODELIST": "node[1-4]",
  "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
  "SLURM_PROCID": "2",
  "SLURM_LOCALID": "0",
  "SLURM_NODEID": "2",
  "SLURM_GPUS_ON_NODE": "8",
  "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7",
}
TWO_A_NODE = STEP | {
  "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
  "SLURM_LOCALID": "1",
  "SLURM_NODEID": "1",
  "SLURM_PROCID": "3",
}
BY_HAND = {
  "JAX_COORDINATOR_ADDRESS": "host:99",
  "JAX_NUM_PROCESSES": "3",
  "JAX_PROCESS_ID": "1",
}
MPI = {
  "OMPI_COMM_WORLD_SIZE": "2",
  "OMPI_COMM_WORLD_RANK": "1",
  "OMPI_COMM_WORLD_LOCAL_RANK": "0",
  "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
  "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
}


def of(count, index, devices, **more):
  return {
    "num_processes": count,
    "process_id": index,
    "local_device_ids": devices,
  } | more


@pytest.mark.parametrize(
  "environ, expected",
  [
    ({}, None),
    # One task for each node has all of the node's GPUs.
    (STEP, of(4, 2, [])),
    # Two tasks of a node share them evenly; bound ones keep their own.
    (TWO_A_NODE, of(4, 3, [4, 5, 6, 7])),
    (TWO_A_NODE | {"SLURM_LOCALID": "0"}, of(4, 3, [0, 1, 2, 3])),
    (TWO_A_NODE | {"CUDA_VISIBLE_DEVICES": "0,1"}, of(4, 3, [])),
    (TWO_A_NODE | {"SLURM_GPUS_PER_TASK": "4"}, of(4, 3, [])),
    (TWO_A_NODE | {"JAX_LOCAL_DEVICE_IDS": "6,7"}, of(4, 3, [6, 7])),
    # On nodes without GPUs there is nothing to share.
    (
      {k: v for k, v in TWO_A_NODE.items() if "GPU" not in k and k[0] != "C"},
      of(4, 3, []),
    ),
    (STEP | {"SLURM_STEP_TASKS_PER_NODE": "2,1(x2)"}, of(4, 2, [])),
    # An allocation without srun, and the script of a batch job: one process.
    ({"SLURM_JOB_ID": "77", "SLURM_NTASKS": "8"}, None),
    (
      {
        "SLURM_JOB_ID": "77",
        "SLURM_NTASKS": "8",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
      },
      None,
    ),
    (STEP | {"SLURM_STEP_NUM_TASKS": "1"}, None),
    (BY_HAND, of(3, 1, [], coordinator_address="host:99")),
    (BY_HAND | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, None),
    # By hand within an allocation: what was said by hand counts.
    (
      BY_HAND | {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "8"},
      of(3, 1, [], coordinator_address="host:99"),
    ),
    (
      STEP | {"JAX_COORDINATOR_ADDRESS": "host:99"},
      of(4, 2, [], coordinator_address="host:99"),
    ),
    (MPI, of(2, 1, [])),
    (MPI | {"OMPI_COMM_WORLD_SIZE": "1"}, None),
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, {}),
    ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
  ],
)
def test_this_process_among_the_others(environ, expected):
  assert launchers.own_process(environ) == expected


@pytest.mark.parametrize(
  "environ, message",
  [
    (
      {"JAX_COORDINATOR_ADDRESS": "host:99"},
      "JAX_COORDINATOR_ADDRESS set but not JAX_NUM_PROCESSES, JAX_PROCESS_ID",
    ),
    (
      {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"},
      "set but not JAX_COORDINATOR_ADDRESS",
    ),
    (BY_HAND | {"JAX_PROCESS_ID": "three"}, "JAX_PROCESS_ID is 'three'"),
    (BY_HAND | {"JAX_PROCESS_ID": "3"}, "process 3 of 3: .* from 0 to 2"),
    (BY_HAND | {"JAX_NUM_PROCESSES": "-2"}, "JAX_NUM_PROCESSES is '-2'"),
    (BY_HAND | {"JAX_LOCAL_DEVICE_IDS": "0;1"}, "IDS is '0;1'"),
    (
      {k: v for k, v in STEP.items() if k != "SLURM_LOCALID"},
      "task of srun, but SLURM_LOCALID are not set",
    ),
    (STEP | {"SLURM_STEP_TASKS_PER_NODE": "many"}, "'many'.* no list"),
    (STEP | {"SLURM_NODEID": "9"}, "SLURM_NODEID is 9, .* has 4 nodes"),
    (
      TWO_A_NODE | {"SLURM_STEP_TASKS_PER_NODE": "3(x2)"},
      "8 GPUs do not divide over 3 tasks",
    ),
    (
      {k: v for k, v in MPI.items() if k != "OMPI_MCA_orte_hnp_uri"},
      "does not tell where its first process runs",
    ),
    (
      {"OMPI_COMM_WORLD_SIZE": "2"},
      "task of mpirun, but OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_LOCAL_RANK",
    ),
  ],
)
def test_half_told_processes_are_refused(environ, message):
  with pytest.raises(ValueError, match=message):
    launchers.own_process(environ)


def test_initialize_says_to_jax_what_the_launcher_says(monkeypatch):
  said = []
  monkeypatch.setattr(
    jax.distributed, "initialize", lambda **options: said.append(options)
  )
  for name in (*STEP, *BY_HAND, *MPI, "TPU_WORKER_HOSTNAMES"):
    monkeypatch.delenv(name, raising=False)
  distributed.initialize()
  assert not said
  for name, value in STEP.items():
    monkeypatch.setenv(name, value)
  distributed.initialize()
  assert said == [of(4, 2, [])]


def test_an_empty_list_of_devices_leaves_all_of_them():
  """What JAX does with it: it neither asks the launcher nor hides a GPU."""
  from jax._src import clusters

  found = clusters.ClusterEnv.auto_detect_unset_distributed_params(
    "host:99", 4, 2, [], None, None
  )
  assert found == ("host:99", 4, 2, [])
