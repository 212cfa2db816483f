"""Compiled programs are kept: each is compiled once on a machine.

JAX's own persistent compilation cache, in the user's cache directory, is on
from the moment at which JAX is imported beside this package. The variable
VISUAL_MEMORY_COMPILATION_CACHE names another directory, or is "off". Whoever
sets JAX_COMPILATION_CACHE_DIR or `jax_compilation_cache_dir` is left alone.

Machine code for one processor may not run on another, and home directories are
shared: so each kind of processor and version of jaxlib has a folder of its own.
"""

import contextlib
import hashlib
import itertools
import os
import pathlib
import platform
import shutil
import sys
import time
from collections.abc import Mapping

SWITCH = "VISUAL_MEMORY_COMPILATION_CACHE"
"""A directory, or "off"."""

MOST_BYTES = 2**30
"""What all folders together may take; what was used least recently goes."""

_LEAST_FREE = 2**28
"""Bytes that the disk must have left: else nothing is kept."""

_CPU_INFO = pathlib.Path("/proc/cpuinfo")
_SAME_PROCESSOR = (
  "vendor_id", "cpu family", "model", "model name", "flags",  # x86
  "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features",
)  # fmt: skip
"""Lines of /proc/cpuinfo that say which instructions there are."""

_HOUR = 3600.0


def use() -> None:
  """Has JAX, which is imported, keep what it compiles.

  Never raises and never warns: where nothing can be kept, nothing is.
  """
  import jax

  root = directory(os.environ)
  if root is None or jax.config.jax_compilation_cache_dir is not None:
    return
  try:
    folder = _own_folder(root)
    _trim(root)
  except OSError:
    return
  jax.config.update("jax_compilation_cache_dir", str(folder))
  # By default what compiles in under a second is not kept: nearly all of ours.
  name = "jax_persistent_cache_min_compile_time_secs"
  if name.upper() not in os.environ and getattr(jax.config, name) == 1.0:
    jax.config.update(name, 0.0)


def directory(environ: Mapping[str, str]) -> pathlib.Path | None:
  """Where compiled programs are kept; None if they are not."""
  chosen = environ.get(SWITCH, "")
  if chosen.lower() in ("off", "0", "no", "false"):
    return None
  if chosen:
    return pathlib.Path(chosen).expanduser().absolute()
  return user_caches(environ) / "visual_memory" / "compiled"


def machine(cpu_info: str | None = None) -> str:
  """A name for what compiled programs depend on, the same on like machines.

  The version of jaxlib, the processor's instructions, and how many processors
  this process may use, for which loops are split.

  Args:
    cpu_info: as in /proc/cpuinfo. Where there is none, the host's name stands
      for its processor.
  """
  if cpu_info is None and _CPU_INFO.exists():
    with _CPU_INFO.open(encoding="utf-8", errors="replace") as lines:
      # The first processor's lines: hundreds of others are like it.
      cpu_info = "".join(itertools.takewhile(str.strip, lines))
  pairs = [line.partition(":")[::2] for line in (cpu_info or "").splitlines()]
  kept = [
    (name.strip(), sorted(value.split()))
    for name, value in pairs
    if name.strip() in _SAME_PROCESSOR
  ]
  if hasattr(os, "sched_getaffinity"):
    processors = len(os.sched_getaffinity(0))
  else:
    processors = os.cpu_count()
  known = (platform.machine(), kept or platform.node(), processors)
  import jaxlib

  digest = hashlib.sha256(repr(known).encode()).hexdigest()[:16]
  return f"jaxlib-{jaxlib.__version__}-{digest}"


def user_caches(environ: Mapping[str, str]) -> pathlib.Path:
  """The directory that the platform has for caches."""
  given = environ.get("XDG_CACHE_HOME", "")
  if os.path.isabs(given):  # Others are to be ignored, by its specification.
    return pathlib.Path(given)
  home = pathlib.Path(os.path.expanduser("~"))
  if sys.platform == "darwin":
    return home / "Library" / "Caches"
  return home / ".cache"


def _own_folder(root: pathlib.Path) -> pathlib.Path:
  """This machine's folder, which nobody else may write to.

  Raises:
    OSError: it cannot be used.
  """
  folder = root / machine()
  folder.mkdir(mode=0o700, parents=True, exist_ok=True)
  status = folder.stat()
  if status.st_uid != os.geteuid() or status.st_mode & 0o022:
    raise PermissionError(f"{folder}: others could put programs there.")
  if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
    raise PermissionError(f"{folder} cannot be written to.")
  if shutil.disk_usage(folder).free < _LEAST_FREE:
    raise OSError(f"{folder} is on a disk that is nearly full.")
  return folder


def _trim(root: pathlib.Path) -> None:
  """Removes what was used least recently, if there is too much of it.

  Looked at once in an hour, since a directory may be slow to list.
  """
  stamp = root / "looked-at"
  with contextlib.suppress(FileNotFoundError):
    if time.time() - stamp.stat().st_mtime < _HOUR:
      return
  stamp.touch()
  found = []
  for path in root.rglob("*"):
    with contextlib.suppress(FileNotFoundError):  # Others may trim it too.
      status = path.stat()
      if path.is_file() and path != stamp:
        used = max(status.st_atime, status.st_mtime)
        found.append((used, status.st_size, path))
  excess = sum(size for _, size, _ in found) - MOST_BYTES
  for _, size, path in sorted(found):
    if excess <= 0:
      return
    path.unlink(missing_ok=True)
    excess -= size
