"""Large files go past the system's cache, and lose nothing on the way."""

import errno
import os

import jax
import numpy as np
import pytest

from visual_memory import direct_files
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
