"""Files are whole or absent, large ones and checkpoints too."""

import ast
import dataclasses
import errno
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from visual_memory import checkpoints, direct_files, distributed, files
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


def _tree():
  return {
    "blocks": {index: {"k": np.full((2, 3), index, "f")} for index in (0, 10)},
    "half": jnp.arange(4, dtype=jnp.bfloat16),
    "pair": (np.arange(5), np.float64(0.1)),
    "step": 7,
    "nothing": None,
  }


def test_every_kind_of_leaf_comes_back_exactly(tmp_path):
  tree = _tree()
  checkpoints.save(tmp_path / "c", tree)
  template = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype),
    tree,
  )
  restored = checkpoints.restore(tmp_path / "c", template)
  assert jax.tree.structure(restored) == jax.tree.structure(tree)
  for mine, its in zip(
    jax.tree.leaves(tree), jax.tree.leaves(restored), strict=True
  ):
    assert isinstance(its, (np.ndarray, np.generic))
    np.testing.assert_array_equal(np.asarray(mine), its, strict=True)


def test_a_sharded_leaf_comes_back_where_the_template_says(tmp_path, mesh):
  rows = np.arange(16, dtype=np.float32).reshape(8, 2)
  saved = distributed.shard_rows(rows, mesh)
  checkpoints.save(tmp_path / "c", {"rows": saved})
  everywhere = distributed.replicated(mesh)
  template = jax.ShapeDtypeStruct(rows.shape, rows.dtype, sharding=everywhere)
  restored = checkpoints.restore(tmp_path / "c", {"rows": template})["rows"]
  assert restored.sharding == everywhere
  np.testing.assert_array_equal(restored, rows)
  same = checkpoints.restore(tmp_path / "c", {"rows": saved})["rows"]
  assert same.sharding == saved.sharding


def test_a_tree_that_differs_is_reported_whole(tmp_path):
  checkpoints.save(tmp_path / "c", {"a": np.zeros(3, "f"), "b": {"c": 1.5}})
  template = {"a": np.zeros(4, "f"), "b": {"d": 1.5}}
  with pytest.raises(ValueError) as error:
    checkpoints.restore(tmp_path / "c", template)
  for part in (
    "missing: b/d",
    "unexpected: b/c",
    "a is float32[3], expected float32[4]",
  ):
    assert part in str(error.value)


def test_a_checkpoint_is_replaced_only_on_request(tmp_path):
  checkpoints.save(tmp_path / "c", {"a": 1})
  with pytest.raises(ValueError, match="already holds a checkpoint"):
    checkpoints.save(tmp_path / "c", {"a": 2})
  checkpoints.save(tmp_path / "c", {"a": 2}, overwrite=True)
  assert checkpoints.restore(tmp_path / "c", {"a": 0})["a"] == 2


@pytest.mark.parametrize("tree", [{}, {"a": np.zeros((0, 3))}])
def test_nothing_to_save_is_an_error_before_the_first_write(tmp_path, tree):
  with pytest.raises(ValueError, match="nothing to save|empty array"):
    checkpoints.save(tmp_path / "c", tree)
  assert not (tmp_path / "c").exists()


def test_latest_is_the_largest_finished_step(tmp_path):
  assert checkpoints.latest(tmp_path / "absent") is None
  assert checkpoints.latest(tmp_path) is None
  for step in (2, 10):
    checkpoints.save(tmp_path / str(step), {"step": step})
  (tmp_path / "30").mkdir()  # Begun, never finished.
  assert checkpoints.latest(tmp_path).name == "10"
  with pytest.raises(ValueError, match="not a finished checkpoint"):
    checkpoints.restore(tmp_path / "30", {"step": 0})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _State:
  params: dict
  step: jax.Array


def test_dataclasses_are_trees_too(tmp_path):
  state = _State(params={"w": jnp.ones(2)}, step=jnp.asarray(3))
  checkpoints.save(tmp_path / "c", state)
  restored = checkpoints.restore(tmp_path / "c", state)
  assert isinstance(restored, _State) and restored.step == 3
