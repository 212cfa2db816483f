"""An index of ScaNN's that a stranger made: refused before ScaNN opens it."""

import json
import os

import jaxtyping
import numpy as np
import pytest
from memory_cases import memory_of, random_rows

from visual_memory.retrieval import scann, scann_files

ASSET = (
  'assets {\n  asset_type: AH_CENTERS\n  asset_path: "ah_codebook.pb"\n}\n'
)


@pytest.fixture(autouse=True)
def as_users_run_it():
  """Without the checks of annotations, which would hide the product's own."""
  jaxtyping.config.update("jaxtyping_disable", True)
  yield
  jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def index(tmp_path):
  """A memory, and the folder of an index of its rows but for ScaNN's files."""
  memory = memory_of(random_rows(20, 8))
  ids = memory.ids
  own = {"ids": ids.tolist(), "rows": scann._digest(memory, ids)}
  (tmp_path / scann_files.OWN).write_text(json.dumps(own))
  (tmp_path / scann_files._ASSETS).write_text(ASSET)
  return memory, tmp_path, own


def test_a_sound_index_comes_as_far_as_scann(index, monkeypatch):
  memory, folder, _ = index

  class Library:
    opened = []

    def load_searcher(self, path):
      self.opened.append(path)
      raise EOFError("its own files")

  monkeypatch.setattr(scann, "library", Library)
  with pytest.raises(EOFError):
    scann.ScannIndex.load(folder, memory)
  assert Library.opened == [str(folder)]


@pytest.mark.parametrize(
  "change",
  [
    lambda own: b"",
    lambda own: b"[" * 100_000,
    lambda own: b"\xff",
    lambda own: [own],
    lambda own: {**own, "ids": "abc"},
    lambda own: {**own, "ids": {"a": 1}},
    lambda own: {**own, "ids": own["ids"][:-1] + [7]},
    lambda own: {**own, "ids": own["ids"][:-1] + own["ids"][:1]},
    lambda own: {**own, "ids": own["ids"][:-1]},
    lambda own: {**own, "ids": own["ids"][::-1]},
    lambda own: {**own, "rows": 3},
    lambda own: {"ids": own["ids"]},
  ],
)
def test_an_index_of_other_rows_is_refused(index, change, monkeypatch):
  memory, folder, own = index
  monkeypatch.setattr(scann, "library", lambda: pytest.fail("opened"))
  new = change(own)
  data = new if isinstance(new, bytes) else json.dumps(new).encode()
  (folder / scann_files.OWN).write_bytes(data)
  with pytest.raises(ValueError) as caught:
    scann.ScannIndex.load(folder, memory)
  assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
  np.testing.assert_array_equal(memory.ids, own["ids"])


@pytest.mark.parametrize(
  "path",
  [
    '"/etc/passwd"',
    '"../secret"',
    '".."',
    r'"\\x2fetc\\x2fpasswd"',
    '"a" "/b"',
    "'/etc/passwd'",
    '"a/b"',
  ],
)
def test_files_outside_of_the_index_are_not_named(index, path, monkeypatch):
  memory, folder, _ = index
  monkeypatch.setattr(scann, "library", lambda: pytest.fail("opened"))
  text = ASSET.replace('"ah_codebook.pb"', path)
  (folder / scann_files._ASSETS).write_text(text)
  with pytest.raises(ValueError, match="outside of the index"):
    scann.ScannIndex.load(folder, memory)


def test_links_and_pickles_are_not_followed(index, monkeypatch):
  memory, folder, _ = index
  monkeypatch.setattr(scann, "library", lambda: pytest.fail("opened"))
  os.symlink("/etc/passwd", folder / "ah_codebook.pb")
  with pytest.raises(ValueError, match="outside of the index"):
    scann.ScannIndex.load(folder, memory)
  (folder / scann_files._PICKLE).write_bytes(b"")
  with pytest.raises(ValueError, match="is a pickle, which is never opened"):
    scann.ScannIndex.load(folder, memory)
