"""The directory of one run: its config, environment, metrics and DONE marker.

  workdir = open_workdir("runs/digits", config)   # or resumes it
  if not workdir.finished:
    workdir.write_env(mesh=mesh)
    workdir.log(step=1, loss=0.7)
    ...
    workdir.finish()

A workdir with results belongs to one config for ever: opening it with another
one is an error, so no result is overwritten by a different experiment. In a run
of several processes everyone may open it; only the lead process writes.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

import visual_memory
from visual_memory import distributed, files

_PACKAGES = (
  "visual_memory",
  "jax",
  "jaxlib",
  "flax",
  "numpy",
  "optax",
  "orbax-checkpoint",
  "pillow",
  "tensorstore",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workdir:
  """An open workdir; make one with `open_workdir`.

  Attributes:
    path: the directory.
    lead: whether this process writes.
    tell: prints a line for whoever watches.
  """

  path: pathlib.Path
  lead: bool
  tell: Callable[[str], Any]

  @property
  def finished(self) -> bool:
    """Whether the run that this directory holds came to its end."""
    return (self.path / "DONE").exists()

  def log(self, **metrics: Any) -> None:
    """Appends one line to metrics.jsonl (numbers that are NaN are strings).

    A resumed run may log a step again: the later line counts.
    """
    if self.lead:
      with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(files.plain(metrics)) + "\n")

  def metrics(self) -> list[dict[str, Any]]:
    """Every line of metrics.jsonl so far, in order."""
    path = self.path / "metrics.jsonl"
    if not path.exists():
      return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]

  def write_env(
    self, *, mesh: Mesh | None = None, command: Sequence[str] | None = None
  ) -> dict[str, Any]:
    """Writes env.json, and returns it: see `environment`."""
    env = environment(mesh=mesh, command=command)
    if self.lead:
      files.write_json(self.path / "env.json", env)
    return env

  def finish(self) -> None:
    """Leaves the DONE marker: every file of the run is in place."""
    if self.lead:
      files.write_text(self.path / "DONE", "done\n")


class Clock:
  """Seconds of every stage; each is logged into the workdir as it ends.

  Attributes:
    seconds: by the stage's name, in order.
  """

  def __init__(self, workdir: Workdir):
    """Starts with no stage."""
    self.seconds: dict[str, float] = {}
    self._workdir = workdir

  @contextlib.contextmanager
  def __call__(self, stage: str) -> Iterator[None]:
    """Times one stage; stages of one name are added up."""
    start = time.monotonic()
    yield
    seconds = time.monotonic() - start
    self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
    self._workdir.log(stage=stage, seconds=seconds)
    if self._workdir.lead:
      self._workdir.tell(f"{stage} took {seconds:.1f} s")


def open_workdir(
  path: str | os.PathLike,
  config: Mapping[str, Any],
  *,
  lead: bool | None = None,
  may_change: Collection[str] = (),
  tell: Callable[[str], Any] = lambda _: None,
) -> Workdir:
  """The workdir at this path, made if absent, resumed if it is this config's.

  One of another config is taken over where nothing but its logs and caches is
  left of it: a run that failed before it had results does not keep its place.

  Args:
    path: a directory; parents are made too.
    config: plain nested values (`ConfigDict.to_dict()`).
    lead: whether this process writes; by default `distributed.is_lead()`.
    may_change: names at the top of the config that decide no result: a run goes
      on with other values of theirs.
    tell: prints a line for whoever watches; by default nothing is printed.

  Raises:
    ValueError: it holds results of another config; lists the differing keys
      with both values. Nothing has been written then.
  """
  workdir = Workdir(
    path=pathlib.Path(path),
    lead=distributed.is_lead() if lead is None else lead,
    tell=tell,
  )
  config = files.plain(config)
  config_path = workdir.path / "config.json"
  old = files.read_json(config_path) if config_path.exists() else None
  before, now = (
    {name: x for name, x in (of or {}).items() if name not in may_change}
    for of in (old, config)
  )
  if old is not None and _has_results(workdir.path):
    refuse_other_config(path, before, now)
  if workdir.lead and old != config:
    if old is not None and (other := differing_keys(before, now)):
      (workdir.path / "metrics.jsonl").unlink(missing_ok=True)
      keys = ", ".join(other)
      tell(f"{path}: a run without results, of other {keys}, makes room.")
    workdir.path.mkdir(parents=True, exist_ok=True)
    files.write_json(config_path, config)
  if workdir.lead:
    _drop_torn_line(workdir.path / "metrics.jsonl")
  return workdir


def environment(
  *, mesh: Mesh | None = None, command: Sequence[str] | None = None
) -> dict[str, Any]:
  """What a run depends on beside its config and data.

  Args:
    mesh: the devices it uses; all of this run's devices by default.
    command: the words of the command line; by default this process's own.

  Returns:
    command, commit (None outside a checkout) and whether it was modified,
    versions, platform, devices and processes: plain JSON values.
  """
  mesh = distributed.make_mesh() if mesh is None else mesh
  devices = mesh.devices.ravel()
  return {
    "command": shlex.join(_own_command() if command is None else command),
    **_commit(),
    "python": platform.python_version(),
    "versions": {name: _version(name) for name in _PACKAGES},
    "platform": platform.platform(),
    "cpu_count": os.cpu_count(),
    "mesh": {name: int(size) for name, size in mesh.shape.items()},
    "devices": sorted({device.device_kind for device in devices}),
    "num_devices": len(devices),
    "num_processes": jax.process_count(),
  }


def differing_keys(
  old: Mapping[str, Any], new: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
  """The dotted keys whose values differ, each with (old, new).

  A key that one side lacks has the value "(absent)" there.
  """
  old, new = flatten(files.plain(old)), flatten(files.plain(new))
  keys = list(old) + [key for key in new if key not in old]
  pairs = {
    key: (old.get(key, "(absent)"), new.get(key, "(absent)")) for key in keys
  }
  return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def refuse_other_config(
  path: str | os.PathLike, old: Mapping[str, Any], new: Mapping[str, Any]
) -> None:
  """Raises ValueError, listing both values of each key, unless old is new."""
  different = differing_keys(old, new)
  if different:
    lines = [
      f"  {key}: {a!r} there, {b!r} here" for key, (a, b) in different.items()
    ]
    raise ValueError(
      f"{path} belongs to another config:\n"
      + "\n".join(lines)
      + "\nUse another workdir, or the config it was made with."
    )


def _has_results(path: pathlib.Path) -> bool:
  """Whether a workdir holds more than what any run begins with."""
  begun = {"config.json", "env.json", "metrics.jsonl", "cache", "recordings"}
  return any(
    file.name not in begun and not file.name.startswith(".")
    for file in path.iterdir()
  )


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
  """A nested mapping as {"a.b": leaf}; an empty mapping is a leaf."""
  if not isinstance(value, dict) or (prefix and not value):
    return {prefix: value}
  return {
    key: leaf
    for name, item in value.items()
    for key, leaf in flatten(
      item, f"{prefix}.{name}" if prefix else name
    ).items()
  }


def _own_command() -> list[str]:
  """This process's command line, `python -m` put back where it was used."""
  spec = getattr(sys.modules.get("__main__"), "__spec__", None)
  if spec is not None:
    return ["python", "-m", spec.name.removesuffix(".__main__"), *sys.argv[1:]]
  return ["python", *sys.argv]


def _version(package: str) -> str | None:
  """The installed version, or None."""
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _commit() -> dict[str, Any]:
  """The git commit this package is checked out at, if it is."""
  root = pathlib.Path(visual_memory.__file__).resolve().parents[1]

  def git(*words: str) -> str:
    return subprocess.run(
      ["git", "-C", str(root), *words],
      capture_output=True,
      text=True,
      timeout=30,
      check=True,
    ).stdout.strip()

  try:
    # An installed copy may lie inside a checkout of something else.
    if pathlib.Path(git("rev-parse", "--show-toplevel")).resolve() != root:
      return {"commit": None, "modified": None}
    modified = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "modified": bool(modified)}
  except (OSError, subprocess.SubprocessError):
    return {"commit": None, "modified": None}


def _drop_torn_line(path: pathlib.Path) -> None:
  """Cuts what a killed process left after the last whole line."""
  if not path.exists():
    return
  with open(path, "r+b") as file:
    text = file.read()
    file.truncate(text.rfind(b"\n") + 1)
