"""Compiled functions, built once for each kind of machine.

  function = nearest()        # None: use what needs no compiler

The source comes with the package. It is compiled the first time that it is
asked for (seconds) and kept in the user's cache directory under a name that
tells source, flags and compiler. Without a C++ compiler, on processors without
AVX2, and where VISUAL_MEMORY_NATIVE=0 says so, there is nothing, and callers
answer by other means: what comes out is the same.
"""

import ctypes
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import warnings
from collections.abc import Callable

from visual_memory import compilation_cache, files

_SOURCE = pathlib.Path(__file__).parent / "nearest.cpp"
_FLAGS = "-std=c++20 -O3 -mavx2 -mfma -shared -fPIC -pthread".split()
_VNNI = {"avx512f", "avx512_vnni"}
_COMPILERS = ("c++", "g++", "clang++")
_COMPILE_S = 120
_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64


def nearest() -> Callable | None:
  """The search of nearest.cpp, outside of the interpreter's lock; or None."""
  if os.environ.get("VISUAL_MEMORY_NATIVE", "1") == "0":
    return None
  return _nearest()


@functools.cache
def instructions() -> frozenset[str]:
  """What this processor can do, in Linux's words; empty if unknown."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return frozenset()
  flags = next((line for line in lines if line.startswith("flags")), ":")
  return frozenset(flags.split(":")[1].split())


@functools.cache
def _nearest() -> Callable | None:
  compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
  if compiler is None or not {"avx2", "fma"} <= instructions():
    return None
  try:
    function = ctypes.CDLL(str(_built(compiler))).nearest
  except (OSError, subprocess.SubprocessError) as error:
    detail = getattr(error, "stderr", None) or error
    warnings.warn(
      f"{_SOURCE.name} could not be compiled ({str(detail).strip()[-300:]}):"
      " searches give the same answers, slower.",
      stacklevel=3,
    )
    return None
  function.restype = None
  function.argtypes = [
    _POINTER, _COUNT, _COUNT, _POINTER, _COUNT, _COUNT, ctypes.c_double,
    _POINTER, _POINTER, _COUNT, _COUNT, _POINTER, _POINTER, _POINTER, _POINTER,
  ]  # fmt: skip
  return function


def _built(compiler: str) -> pathlib.Path:
  """The compiled source, compiled now if it never was."""
  flags = list(_FLAGS)
  if instructions() >= _VNNI:
    flags += ["-mavx512f", "-mavx512vnni"]
  told = "\n".join([compiler, *flags, _SOURCE.read_text(encoding="utf-8")])
  name = f"nearest-{hashlib.sha256(told.encode()).hexdigest()[:16]}.so"
  cache = compilation_cache.user_caches(os.environ)
  path = cache / "visual_memory" / name
  if not path.exists():
    with files.replacing(path) as temporary:
      subprocess.run(
        [compiler, *flags, str(_SOURCE), "-o", str(temporary)],
        check=True,
        capture_output=True,
        text=True,
        timeout=_COMPILE_S,
      )
  return path
