"""Compiled functions, built once for each kind of machine.

  compiled = functions()        # None: use what needs no compiler
  compiled.nearest(...)

The sources come with the package. They are compiled when they are first
asked for (seconds), and kept in the user's cache directory under a name that
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

from visual_memory import compilation_cache, files

_SOURCES = sorted(pathlib.Path(__file__).parent.glob("*.[ch]*"))
_FLAGS = "-std=c++20 -O3 -mavx2 -mfma -shared -fPIC -pthread".split()
_VNNI = {"avx512f", "avx512_vnni"}
_COMPILERS = ("c++", "g++", "clang++")
_COMPILE_S = 120
_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64


def functions() -> ctypes.CDLL | None:
  """`nearest` of nearest.cpp, `int8_copy` of int8_copy.cpp; or None.

  They run outside of the interpreter's lock.
  """
  if os.environ.get("VISUAL_MEMORY_NATIVE", "1") == "0":
    return None
  return _functions()


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
def _functions() -> ctypes.CDLL | None:
  compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
  if compiler is None or not {"avx2", "fma"} <= instructions():
    return None
  try:
    compiled = ctypes.CDLL(str(_built(compiler)))
  except (OSError, subprocess.SubprocessError) as error:
    detail = getattr(error, "stderr", None) or error
    warnings.warn(
      f"{_SOURCES[0].parent} could not be compiled"
      f" ({str(detail).strip()[-300:]}): answers are the same, slower.",
      stacklevel=3,
    )
    return None
  compiled.nearest.restype = compiled.int8_copy.restype = None
  compiled.nearest.argtypes = [
    _POINTER, _COUNT, _COUNT, _POINTER, _COUNT, _COUNT, ctypes.c_double,
    _POINTER, _POINTER, _COUNT, _COUNT, _POINTER, _POINTER, _POINTER, _POINTER,
  ]  # fmt: skip
  compiled.int8_copy.argtypes = [
    _POINTER, _COUNT, _COUNT, ctypes.c_float, _POINTER, _POINTER,
  ]  # fmt: skip
  return compiled


def _built(compiler: str) -> pathlib.Path:
  """The compiled sources, compiled now if they never were."""
  flags = list(_FLAGS)
  if instructions() >= _VNNI:
    flags += ["-mavx512f", "-mavx512vnni"]
  texts = [source.read_text(encoding="utf-8") for source in _SOURCES]
  told = "\n".join([compiler, *flags, *texts])
  compiled = [str(source) for source in _SOURCES if source.suffix == ".cpp"]
  name = f"nearest-{hashlib.sha256(told.encode()).hexdigest()[:16]}.so"
  cache = compilation_cache.user_caches(os.environ)
  path = cache / "visual_memory" / name
  if not path.exists():
    with files.replacing(path) as temporary:
      subprocess.run(
        [compiler, *flags, *compiled, "-o", str(temporary)],
        check=True,
        capture_output=True,
        text=True,
        timeout=_COMPILE_S,
      )
  return path
