"""Which of a run's processes this one is, by what started it.

  jax.distributed.initialize(**launchers.own_process(os.environ))

Only what a launcher sets for the process itself is trusted: an allocation of
eight tasks without `srun` is one process.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_BY_HAND = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_SLURM_STEP = (
  "SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE",
  "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID",
)  # fmt: skip
_OPEN_MPI = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
_MPI_ADDRESS = "OMPI_MCA_orte_hnp_uri"
"""Where JAX reads the coordinator's address; Open MPI 5 no longer sets it."""


def own_process(environ: Mapping[str, str]) -> dict[str, Any] | None:
  """Arguments of jax.distributed.initialize; None for a run of one process.

  What is set by hand (JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES,
  JAX_PROCESS_ID, JAX_LOCAL_DEVICE_IDS) goes before what a launcher says.
  `local_device_ids` is always there, since JAX by itself would take one GPU for
  each task of a launcher: an empty list leaves all visible ones.

  Raises:
    ValueError: variables that are missing, no numbers or out of range, or GPUs
      that do not divide over the tasks of a node; names them.
  """
  given = {name: environ[name] for name in _BY_HAND if environ.get(name)}
  launched = _by_slurm(environ) or _by_open_mpi(environ)
  if not given and not launched:
    return _on_tpu(environ)
  missing = [name for name in _BY_HAND if name not in given]
  if given and missing and not launched:
    raise ValueError(
      f"{', '.join(given)} set but not {', '.join(missing)}: processes that are"
      " started by hand need all three, a run of one process none of them."
    )
  arguments = launched or {"local_device_ids": []}
  names = ("coordinator_address", "num_processes", "process_id")
  for name, variable in zip(names, _BY_HAND, strict=True):
    if variable in given:
      text = name == "coordinator_address"
      arguments[name] = given[variable] if text else _number(environ, variable)
  if environ.get("JAX_LOCAL_DEVICE_IDS"):
    arguments["local_device_ids"] = _device_ids(environ)
  count, index = arguments["num_processes"], arguments["process_id"]
  if not 0 <= index < count:
    raise ValueError(
      f"This is process {index} of {count}: processes are numbered from 0 to"
      f" {count - 1}."
    )
  if launched and "coordinator_address" not in arguments:
    _check_address(environ)
  return arguments if count > 1 else None


def _by_slurm(environ: Mapping[str, str]) -> dict[str, Any] | None:
  """The task of a step that srun started; None outside of one, or alone."""
  if not environ.get("SLURM_STEP_NUM_TASKS"):
    return None
  count = _number(environ, "SLURM_STEP_NUM_TASKS")
  if count < 2:
    return None
  _require(environ, _SLURM_STEP, "srun")
  tasks = _tasks_per_node(environ["SLURM_STEP_TASKS_PER_NODE"])
  node = _number(environ, "SLURM_NODEID")
  if node >= len(tasks):
    raise ValueError(
      f"SLURM_NODEID is {node}, but SLURM_STEP_TASKS_PER_NODE ="
      f" {environ['SLURM_STEP_TASKS_PER_NODE']!r} has {len(tasks)} nodes."
    )
  return {
    "num_processes": count,
    "process_id": _number(environ, "SLURM_PROCID"),
    "local_device_ids": _share_of_gpus(
      environ, _number(environ, "SLURM_LOCALID"), tasks[node]
    ),
  }


def _by_open_mpi(environ: Mapping[str, str]) -> dict[str, Any] | None:
  """A rank that mpirun started; None outside of one, or alone."""
  if not environ.get("OMPI_COMM_WORLD_SIZE"):
    return None
  count = _number(environ, "OMPI_COMM_WORLD_SIZE")
  if count < 2:
    return None
  _require(environ, _OPEN_MPI, "mpirun")
  here = 1
  if environ.get("OMPI_COMM_WORLD_LOCAL_SIZE"):
    here = _number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE")
  return {
    "num_processes": count,
    "process_id": _number(environ, "OMPI_COMM_WORLD_RANK"),
    "local_device_ids": _share_of_gpus(
      environ, _number(environ, "OMPI_COMM_WORLD_LOCAL_RANK"), here
    ),
  }


def _on_tpu(environ: Mapping[str, str]) -> dict[str, Any] | None:
  """A worker of a pod, of which JAX knows all."""
  workers = environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
  return {} if len(workers) > 1 else None


def _share_of_gpus(
  environ: Mapping[str, str], task: int, num_tasks: int
) -> list[int]:
  """The GPUs of one of a node's tasks, among those that it sees.

  All of them (an empty list) if it is alone there, or if the launcher shows
  every task its own; else an even share.
  """
  visible = environ.get("CUDA_VISIBLE_DEVICES")
  seen = len([x for x in visible.split(",") if x]) if visible else None
  on_node = environ.get("SLURM_GPUS_ON_NODE")
  on_node = int(on_node) if on_node and on_node.isdigit() else seen
  if num_tasks == 1 or on_node is None:
    return []
  if seen is not None and seen < on_node:  # Bound to the task.
    return []
  if environ.get("SLURM_GPUS_PER_TASK"):
    return []
  if on_node % num_tasks:
    raise ValueError(
      f"{on_node} GPUs do not divide over {num_tasks} tasks of a node: start"
      " one task for each node (--ntasks-per-node=1) or for each GPU, or set"
      " JAX_LOCAL_DEVICE_IDS."
    )
  each = on_node // num_tasks
  return list(range(task * each, (task + 1) * each))


def _tasks_per_node(text: str) -> list[int]:
  """Slurm's "2(x3),1" as [2, 2, 2, 1]."""
  tasks = []
  for part in text.split(","):
    found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
    if not found:
      raise ValueError(
        f"SLURM_STEP_TASKS_PER_NODE is {text!r}, which is no list of counts."
      )
    tasks += [int(found[1])] * int(found[2] or 1)
  return tasks


def _check_address(environ: Mapping[str, str]) -> None:
  """Raises ValueError where JAX cannot find the coordinator."""
  if environ.get("OMPI_COMM_WORLD_SIZE") and not environ.get(_MPI_ADDRESS):
    raise ValueError(
      "This Open MPI does not tell where its first process runs: set"
      " JAX_COORDINATOR_ADDRESS=HOST:PORT for all processes."
    )


def _require(environ, names: Sequence[str], launcher: str) -> None:
  """Raises ValueError unless the launcher set all of these."""
  missing = [name for name in names if not environ.get(name)]
  if missing:
    raise ValueError(
      f"This looks like a task of {launcher}, but {', '.join(missing)} are not"
      f" set: start it with {launcher}, or set {', '.join(_BY_HAND)}."
    )


def _number(environ: Mapping[str, str], name: str) -> int:
  """A variable as a whole number."""
  try:
    value = int(environ[name])
    if value >= 0:
      return value
  except ValueError:
    pass
  raise ValueError(f"{name} is {environ[name]!r}, which is no whole number.")


def _device_ids(environ: Mapping[str, str]) -> list[int]:
  """JAX_LOCAL_DEVICE_IDS as numbers."""
  text = environ["JAX_LOCAL_DEVICE_IDS"]
  if not re.fullmatch(r"\d+(,\d+)*", text):
    raise ValueError(
      f"JAX_LOCAL_DEVICE_IDS is {text!r}: numbers with commas are needed."
    )
  return [int(x) for x in text.split(",")]
