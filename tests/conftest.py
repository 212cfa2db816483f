"""Eight simulated CPU devices and strict shapes, before anything runs."""

import contextlib
import functools
import gc
import inspect
import os
import sys
import typing

# What is imported and collected stays: the collector seldom looks at it.
gc.set_threshold(1_000_000)
# Dozens of processes import the package: its bytecode is written once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Workers fill all cores: a program in one part is compiled by less work.
os.environ["XLA_FLAGS"] = " ".join(
  [os.environ.get("XLA_FLAGS", ""), "--xla_cpu_parallel_codegen_split_count=1"]
).strip()
# Programs need not say which lines of Python they were written in.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# Shared by all workers, and by the processes that tests start.
os.environ.setdefault(
  "VISUAL_MEMORY_COMPILATION_CACHE",
  os.path.join(os.path.dirname(__file__), "..", "work", "compiled"),
)

import beartype
import jax
import jaxtyping
import pytest
from jax._src import compiler


def _names_shapes(hint):
  """Whether an annotation is one of jaxtyping's, or holds one."""
  parts = hint if isinstance(hint, list) else typing.get_args(hint)
  return (
    isinstance(hint, str)
    or type(hint).__module__.startswith("jaxtyping.")
    or any(map(_names_shapes, parts))
  )


_CHECKED_FIRST, _CHECKED_EVERY = 8, 1 if "AS_USERS_RUN" in os.environ else 16
"""Calls of a function that are checked in each test, and one of how many then.

What a test calls a thousand times is given the same kinds of values.
"""
_test = None


def pytest_runtest_setup(item):
  """Counts of calls begin anew."""
  global _test
  _test = item


def _checking(jaxtyped):
  """`jaxtyped`, but what names no shapes is left to the type checker alone.

  Checking every call would be a third of the time of tests that compute little.
  A check is written when its function is first called: most functions are not,
  in any one process.
  """

  plainly = beartype.beartype(
    conf=beartype.BeartypeConf(violation_type=jaxtyping.TypeCheckError)
  )

  def decorate(function, *, typechecker):
    if not inspect.isfunction(function) or inspect.isgeneratorfunction(
      function
    ):
      return jaxtyped(function, typechecker=typechecker)
    hints = getattr(function, "__annotations__", {}).values()
    if not hints:
      return function
    checked, calls, test = None, 0, None

    @functools.wraps(function)
    def lazily(*args, **kwargs):
      nonlocal checked, calls, test
      calls = 1 if test is not _test else calls + 1
      test = _test
      often = calls > _CHECKED_FIRST and calls % _CHECKED_EVERY
      if often or jaxtyping.config.jaxtyping_disable:
        return function(*args, **kwargs)
      if checked is None:
        shapes = any(map(_names_shapes, hints))
        check = functools.partial(jaxtyped, typechecker=typechecker)
        checked = (check if shapes else plainly)(function)
      return checked(*args, **kwargs)

    return lazily

  return lambda *, typechecker: functools.partial(
    decorate, typechecker=typechecker
  )


jaxtyping.jaxtyped = _checking(jaxtyping.jaxtyped)

import visual_memory  # What JAX compiles is kept from now on.

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Files of tests that ask what is computed, not by which machine code, and that
# compile more than they run. AS_USERS_RUN=1 compiles them as all others are.
COMPILED_QUICKLY = (
  "analysis_", "cli_test", "collection_", "comparison_test",
  "contributing_test", "device_resize_test", "distributed_test",
  "dual_memory_", "edits_loop_test", "encoders_options_test",
  "encoders_parity_test", "encoders_patches_test", "encoders_resnet_test",
  "encoders_text_test", "encoders_vit_test", "encoders_words_test",
  "experiments_", "memory_memory_test", "memory_precision_test",
  "memory_whitening_test", "notebooks_test", "packaging_test", "paper_test",
  "pretraining_", "probes_", "procedural_devices_test",
  "procedural_mixing_test", "procedural_test", "public_test", "reports_",
  "rerank_", "retrieval_exact_test", "retrieval_files_test",
  "retrieval_first_pass_test", "retrieval_hlo_test",
  "retrieval_positions_test", "retrieval_streaming_test", "server_",
  "sklearn_test", "store_handles_test", "studies_", "terminal_test",
  "voting_",
)  # fmt: skip

# Of those, files that embed few images as users do, on all devices: here on
# two, since each of eight would be given a batch that is filled up.
ON_TWO_DEVICES = (
  "cli_test", "edits_loop_test", "experiments_", "public_test",
  "studies_pretraining_test",
)  # fmt: skip

# Files of tests that open studies whose figures other files look at.
DRAWN_ROUGHLY = (
  "analysis_", "comparison_test", "dual_memory_", "edits_loop_test",
  "experiments_", "notebooks_test", "paper_test", "probes_", "public_test",
  "rerank_", "retrieval_files_test", "sklearn_test", "studies_", "voting_",
)  # fmt: skip

OLDER_EMITTERS = "xla_cpu_use_fusion_emitters"  # If False.

DATA_ROOT = os.path.abspath(
  os.environ.get(
    "VISUAL_MEMORY_DATA",
    os.path.join(os.path.dirname(__file__), "..", "..", "shared", "data"),
  )
)
os.environ["VISUAL_MEMORY_DATA"] = DATA_ROOT  # Wherever a test goes.


def pytest_collection_finish():
  """What was collected stays: the collector need not look at it again."""
  gc.collect()
  gc.freeze()
  gc.set_threshold(20_000, 20, 50)


def pytest_collection_modifyitems(items):
  """Modules of one kind of machine code follow one another."""
  items.sort(key=lambda item: not _compiled_quickly(item.module))


def _compiled_quickly(module):
  name = module.__name__
  return name.startswith(COMPILED_QUICKLY) and "AS_USERS_RUN" not in os.environ


@pytest.fixture(scope="session")
def _older_emitters():
  """Whether XLA still has its older emitters, which take half the time.

  They need no MLIR for every fusion; later ones of jaxlib are without them.
  """
  try:
    jax.jit(lambda x: x).lower(0.0).compile({OLDER_EMITTERS: False})
  except jax.errors.JaxRuntimeError:
    return False
  return True


@pytest.fixture(scope="module", autouse=True)
def _machine_code(request, _older_emitters):
  """Little optimized machine code for some modules and what they start.

  LLVM's optimizations are half of what these tests take. All else, above all
  what promises the same bits on any devices and in any batches, is tested as
  users run it: so no such module is left a program of these. Programs are kept
  on the disk by how they were compiled.
  """
  name = "jax_disable_most_optimizations"
  quickly = _compiled_quickly(request.module)
  if jax.config.read(name) and not quickly:
    jax.clear_caches()
  jax.config.update(name, quickly)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv(name.upper(), str(int(quickly)))
    if quickly and _older_emitters:
      flags = os.environ.get("XLA_FLAGS", "")
      patch.setenv("XLA_FLAGS", f"{flags} --{OLDER_EMITTERS}=false")
      chosen = compiler.get_compile_options

      def options(*args, **kwargs):
        found = chosen(*args, **kwargs)
        found.env_option_overrides += [(OLDER_EMITTERS, False)]
        return found

      # JAX has no setting for what a compilation may be told.
      patch.setattr(compiler, "get_compile_options", options)
    yield


@pytest.fixture(scope="session")
def data_file():
  """A function from a file name in VISUAL_MEMORY_DATA to its path, or skip."""

  def find(name):
    path = os.path.join(DATA_ROOT, name)
    if not os.path.exists(path):
      pytest.skip(f"{name} is not under VISUAL_MEMORY_DATA ({DATA_ROOT})")
    return path

  return find


@pytest.fixture(params=[1, 8])
def mesh(request):
  """A mesh of one device, then of eight."""
  from visual_memory import distributed

  return distributed.make_mesh(request.param)


@pytest.fixture(scope="session", autouse=True)
def _devices():
  """With JAX_PLATFORMS=cuda,cpu, say, what needs more devices is skipped."""
  from visual_memory import distributed

  make = distributed.make_mesh

  def make_or_skip(num_devices=None):
    if (num_devices or 1) > jax.device_count():
      pytest.skip(f"{num_devices} devices, of {jax.device_count()}")
    return make(num_devices)

  with pytest.MonkeyPatch.context() as patch:
    if jax.device_count() < 8:
      patch.setattr(distributed, "make_mesh", make_or_skip)
    yield


@contextlib.contextmanager
def all_devices_are(count):
  """So many devices make a mesh where nobody says how many."""
  make = visual_memory.make_mesh

  @functools.wraps(make)
  def make_some(num_devices=None):
    return make(count if num_devices is None else num_devices)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(visual_memory, "make_mesh", make_some)
    patch.setattr(visual_memory.distributed, "make_mesh", make_some)
    yield


@pytest.fixture(scope="module", autouse=True)
def _few_devices(request, _devices):
  few = request.module.__name__.startswith(ON_TWO_DEVICES)
  with all_devices_are(2) if few else contextlib.nullcontext():
    yield


@pytest.fixture(scope="module", autouse=True)
def _figures(request):
  """Some figures are laid out without making room for what they say.

  That takes more than half of their time.
  """
  with pytest.MonkeyPatch.context() as patch:
    if request.module.__name__.startswith(DRAWN_ROUGHLY):
      from visual_memory.reports import drawing

      patch.setattr(drawing, "LAYOUT", "none")
    yield


@pytest.fixture
def on_one_device():
  """As on the machines of most users."""
  with all_devices_are(1):
    yield


@pytest.fixture
def unannotated():
  """Annotations are not checked, for what does the same things very often."""
  jaxtyping.config.update("jaxtyping_disable", True)
  yield
  jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def by_xla(monkeypatch):
  """Searches as on machines without a compiler, and on other devices."""
  monkeypatch.setenv("VISUAL_MEMORY_NATIVE", "0")
