"""The one atomic writer: a file is whole or absent, whatever happens."""

import ast
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from visual_memory import files

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
