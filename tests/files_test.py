"""Files are whole or absent; large ones go past the cache and lose nothing."""

import ast
import errno
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from visual_memory import direct_files, files
from visual_memory.store.storage import local

SIZES = (1, 4095, 4096, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9_000_001)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_holds_the_bytes_and_no_more(tmp_path, size):
  data = np.random.default_rng(size).bytes(size)
  path = tmp_path / "file"
  path.write_bytes(bytes(size + 5000))  # A longer one is in its place.
  if not direct_files.write(str(path), memoryview(data)):
    pytest.skip("This file system knows no direct writes.")
  assert path.read_bytes() == data


def test_where_it_is_refused_the_file_is_written_all_the_same(
  tmp_path, monkeypatch
):
  def refuse(*arguments):
    raise OSError(errno.EINVAL, "not aligned")

  monkeypatch.setattr(direct_files, "_copy", refuse)
  data = os.urandom(3 << 20)
  local.LocalFiles(str(tmp_path)).create("a/b", data)
  assert (tmp_path / "a" / "b").read_bytes() == data


def test_a_full_disk_is_no_refusal(tmp_path, monkeypatch):
  def fill(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(direct_files, "_copy", fill)
  with pytest.raises(OSError, match="No space left"):
    local.LocalFiles(str(tmp_path)).create("a/b", bytes(3 << 20))


@pytest.mark.parametrize("start, length", [(0, 1), (128, 70_000), (4096, 4096)])
def test_reads_any_range(tmp_path, start, length):
  data = np.random.default_rng(0).bytes(80_001)
  (tmp_path / "file").write_bytes(data)
  found = direct_files.read(tmp_path / "file", start, length)
  if found is None:
    pytest.skip("This file system knows no direct reads.")
  assert found.tobytes() == data[start : start + length]


def test_a_file_that_ends_early_is_an_error(tmp_path):
  (tmp_path / "file").write_bytes(bytes(5000))
  if direct_files.read(tmp_path / "file", 0, 10) is None:
    pytest.skip("This file system knows no direct reads.")
  with pytest.raises(EOFError, match="file ends at byte 5000"):
    direct_files.read(tmp_path / "file", 4000, 2000)


def test_memory_is_used_again_only_when_nobody_sees_it():
  direct_files.release()
  first = direct_files.empty((1000, 300), np.float32)
  address, view = first.ctypes.data, first[5:]
  assert address % 4096 == 0
  del first
  second = direct_files.empty((300_000,), np.float32)
  assert second.ctypes.data != address  # The view still sees the first.
  del view
  assert direct_files.empty((1000, 300), np.float32).ctypes.data == address


def test_memory_that_jax_shares_is_not_used_again():
  rows = direct_files.empty((512, 1024), np.float32)
  rows[:] = 1
  shared = jax.device_put(rows)
  del rows
  direct_files.empty((512, 1024), np.float32)[:] = 2
  assert (np.asarray(shared) == 1).all()


PACKAGE = pathlib.Path(files.__file__).parent

_WRITER = """
import os, signal, sys
from visual_memory import files
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with files.replacing(sys.argv[1]) as path:
  path.write_text("new")
"""


def test_a_writer_killed_before_the_renaming_leaves_the_old_file(tmp_path):
  path = tmp_path / "deep" / "a.json"
  files.write_text(path, "old")
  environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
  killed = subprocess.run(
    [sys.executable, "-c", _WRITER, str(path)], env=environment, check=False
  )
  assert killed.returncode == -9
  assert path.read_text() == "old"
  left = [p for p in path.parent.iterdir() if p != path]
  assert [p.read_text() for p in left] == ["new"]
  assert left[0].name.startswith(".") and left[0].suffix == ".json"
  files.write_text(path, "newer")  # What is left does not disturb the next.
  assert path.read_text() == "newer"


def test_an_error_leaves_nothing_behind(tmp_path):
  path = tmp_path / "rows.npz"
  with pytest.raises(RuntimeError), files.replacing(path) as partial:
    np.savez(partial, rows=np.zeros(3))
    assert partial.parent == tmp_path and partial.suffix == ".npz"
    raise RuntimeError
  assert not list(tmp_path.iterdir())
  with pytest.raises(FileNotFoundError), files.replacing(path):
    pass  # Nothing was written.
  long = tmp_path / f"{'n' * 250}.txt"
  files.write_text(long, "x")
  assert [p.name for p in tmp_path.iterdir()] == [long.name]


def test_files_are_renamed_in_one_place():
  """And where a rebuilt store takes the old one's place, all at once."""
  allowed = {"files.py", "collection/rebuild.py"}
  found = set()
  for path in PACKAGE.rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      if (
        isinstance(node, ast.Attribute)
        and node.attr in ("replace", "rename", "renames")
        and isinstance(node.value, ast.Name)
        and node.value.id in ("os", "shutil")
      ):
        found.add(str(path.relative_to(PACKAGE)))
  assert found == allowed


def test_bytes_below(tmp_path):
  (tmp_path / "a").mkdir()
  (tmp_path / "a" / "b").write_bytes(b"123")
  (tmp_path / "c").write_bytes(b"12")
  assert files.bytes_below(tmp_path) == 5
  assert files.bytes_below(tmp_path / "c") == 2
