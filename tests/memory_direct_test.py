"""Large files go past the system's cache, and lose nothing on the way."""

import errno
import os

import numpy as np
import pytest

from visual_memory.memory.storage import direct, local

SIZES = (1, 4095, 4096, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9_000_001)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_holds_the_bytes_and_no_more(tmp_path, size):
  data = np.random.default_rng(size).bytes(size)
  path = tmp_path / "file"
  path.write_bytes(bytes(size + 5000))  # A longer one is in its place.
  if not direct.write(str(path), memoryview(data)):
    pytest.skip("This file system knows no direct writes.")
  assert path.read_bytes() == data


def test_where_it_is_refused_the_file_is_written_all_the_same(
  tmp_path, monkeypatch
):
  def refuse(*arguments):
    raise OSError(errno.EINVAL, "not aligned")

  monkeypatch.setattr(direct, "_copy", refuse)
  data = os.urandom(3 << 20)
  local.LocalFiles(str(tmp_path)).create("a/b", data)
  assert (tmp_path / "a" / "b").read_bytes() == data


def test_a_full_disk_is_no_refusal(tmp_path, monkeypatch):
  def fill(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(direct, "_copy", fill)
  with pytest.raises(OSError, match="No space left"):
    local.LocalFiles(str(tmp_path)).create("a/b", bytes(3 << 20))
