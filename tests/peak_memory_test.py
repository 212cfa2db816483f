"""How much memory commands and very many rows take, at their peak."""

import os
import subprocess
import sys

import numpy as np
import processes
import pytest
from PIL import Image

from visual_memory import compilation_cache

PICTURES, DISTINCT = 2000, 8

# The kernel's own figure of a process starts with what its parent held.
PROGRAM = """
import pathlib, re, sys
from visual_memory.cli import main
code = main.main(sys.argv[1:])
told = pathlib.Path("/proc/self/status").read_text()
print(re.search("VmHWM:\\s+(\\d+) kB", told)[1])
sys.exit(code)
"""


def command(tmp_path, *words, **options):
  programs = str(tmp_path / "programs")
  environ = {**os.environ, compilation_cache.SWITCH: programs}
  environ.pop("GLIBC_TUNABLES", None)  # Huge pages are counted whole.
  environ.pop("JAX_COMPILATION_CACHE_DIR", None)
  return subprocess.Popen(
    [sys.executable, "-c", PROGRAM, *map(str, words)],
    env=environ,
    text=True,
    **options,
  )


def photographs(folder):
  """Pictures of 12 megapixels; each content under many names."""
  draw = np.random.default_rng(0)
  folder.mkdir()
  for n in range(DISTINCT):
    rough = draw.integers(0, 255, (60, 80, 3), np.uint8)
    whole = Image.fromarray(rough).resize((4000, 3000), Image.BICUBIC)
    noise = draw.integers(-6, 6, (3000, 4000, 1), np.int16)
    pixels = np.clip(np.asarray(whole) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f"{n:04}.jpg", quality=88)
  for n in range(DISTINCT, PICTURES):
    os.link(folder / f"{n % DISTINCT:04}.jpg", folder / f"{n:04}.jpg")


@pytest.mark.slow
def test_thousands_of_photographs_are_classified_under_400_mb(tmp_path):
  draw = np.random.default_rng(1)
  for name in "ab":
    (tmp_path / "known" / name).mkdir(parents=True)
    for n in range(20):
      pixels = draw.integers(0, 255, (64, 64, 3), np.uint8)
      Image.fromarray(pixels).save(tmp_path / "known" / name / f"{n}.jpg")
  where = ("--store", tmp_path / "memory")
  assert command(tmp_path, "build", tmp_path / "known", *where).wait() == 0
  photographs(tmp_path / "new")
  # The first run on a machine compiles, which takes a tenth more.
  ask = ("classify", tmp_path / "new", *where)
  some = ("classify", tmp_path / "new/000*.jpg", *where)
  assert command(tmp_path, *some).wait() == 0
  process = command(tmp_path, *ask, stdout=subprocess.PIPE)
  first = process.stdout.readline()
  assert first and process.poll() is None  # Told long before the last one.
  *lines, peak = [first, *process.stdout]
  assert process.wait() == 0 and len(lines) == PICTURES
  assert int(peak) * 1024 < 400e6


# The kernel's own figure of a process starts with what its parent held.
COUNTED = """
import pathlib, re, sys
import numpy as np
import visual_memory as vm

path, count, dim = sys.argv[1], int(sys.argv[2]), 64

def made(count, seed, name):
  random = np.random.default_rng(seed)
  rows = np.empty((count, dim), np.float32)
  ids = np.full(count, "", np.dtypes.StringDType())
  for start in range(0, count, 65536):
    part = slice(start, min(count, start + 65536))
    some = random.standard_normal((part.stop - start, dim), np.float32)
    rows[part] = some / np.linalg.norm(some, axis=1, keepdims=True)
    ids[part] = [f"{name}/{row}" for row in range(start, part.stop)]
  return vm.EmbeddedSet(
    embeddings=rows, labels=np.arange(count, dtype=np.int32) % 100, ids=ids,
    class_names=tuple(f"class {n}" for n in range(100)), fingerprint="made",
  )

embedded = made(count, 0, "row")
queries = embedded.embeddings[:8].copy()
asked = [f"row/{n}" for n in range(8)]
store = vm.Store.create(path, embedded)
memory = vm.VisualMemory.from_embedded(embedded, precision="float32")
del embedded
near = vm.search(queries, memory, k=5)
assert near.ids[:, 0].tolist() == asked
assert near.indices[:, 0].tolist() == list(range(8))
others = vm.search(queries, memory, k=4, exclude_self=asked)
assert (others.ids == near.ids[:, 1:]).all()
memory = memory.remove(asked, donate=True)
store.remove(asked)
left = vm.search(queries, memory, k=4)
assert (left.ids == near.ids[:, 1:]).all()
assert (left.indices == near.indices[:, 1:] - 8).all()
more = made(8, 1, "new")
memory = memory.add(more, donate=True)
memory = memory.relabel(["new/3"], ["other"], donate=True)
store.add(more)
store.relabel(["new/3"], ["other"])
near = vm.search(more.embeddings, memory, k=1)
assert near.ids[:, 0].tolist() == more.ids.tolist()
assert len(memory) == len(store) == count
assert memory.ids_with_label("other").tolist() == ["new/3"]
assert store.select(label="other").tolist() == ["new/3"]
told = pathlib.Path("/proc/self/status").read_text()
print(re.search("VmHWM:\\\\s+(\\\\d+) kB", told)[1])
"""


def peak(path, count):
  """Bytes at most, of making, saving, searching and editing so many rows."""
  environ = {**os.environ, compilation_cache.SWITCH: str(path / "programs")}
  environ.pop("GLIBC_TUNABLES", None)  # Huge pages are counted whole.
  done = processes.python(
    "-c", COUNTED, str(path / "store"), str(count), env=environ
  )
  assert done.returncode == 0, done.stderr
  return int(done.stdout.split()[-1]) * 1024


@pytest.mark.slow
def test_twenty_million_rows_take_under_12_gigabytes(tmp_path):
  # Twice the rows, on the host and on its device, are 10.4 GB of it.
  assert peak(tmp_path, 20_000_000) < 12e9
