"""How much memory the real command takes, at most."""

import os
import subprocess
import sys

import numpy as np
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
