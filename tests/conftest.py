"""Eight simulated CPU devices and strict shapes, before anything runs."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Shared by all workers, and by the processes that tests start.
os.environ.setdefault(
  "VISUAL_MEMORY_COMPILATION_CACHE",
  os.path.join(os.path.dirname(__file__), "..", "work", "compiled"),
)

import jax
import pytest

import visual_memory  # noqa: F401  (what JAX compiles is kept from now on)

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Files of tests that ask what is computed, not by which machine code, and that
# compile more than they run.
COMPILED_QUICKLY = (
  "analysis_", "comparison_test", "dual_memory_training_test",
  "encoders_grad_cam_test", "encoders_parity_test", "encoders_patches_test",
  "encoders_text_test", "encoders_words_test", "pretraining_",
  "procedural_mixing_test",
)  # fmt: skip

DATA_ROOT = os.path.abspath(
  os.environ.get(
    "VISUAL_MEMORY_DATA",
    os.path.join(os.path.dirname(__file__), "..", "..", "shared", "data"),
  )
)
os.environ["VISUAL_MEMORY_DATA"] = DATA_ROOT  # Wherever a test goes.


@pytest.fixture(scope="module", autouse=True)
def _machine_code(request):
  """Little optimized machine code for some modules and what they start.

  LLVM's optimizations are a third of what these tests take. All else, above all
  what promises the same bits on any devices and in any batches, is tested as
  users run it: so no such module is left a program of these. Programs are kept
  on the disk by how they were compiled.
  """
  name = "jax_disable_most_optimizations"
  quickly = request.module.__name__.startswith(COMPILED_QUICKLY)
  if jax.config.read(name) and not quickly:
    jax.clear_caches()
  jax.config.update(name, quickly)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv(name.upper(), str(int(quickly)))
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


@pytest.fixture
def by_xla(monkeypatch):
  """Searches as on machines without a compiler, and on other devices."""
  monkeypatch.setenv("VISUAL_MEMORY_NATIVE", "0")
