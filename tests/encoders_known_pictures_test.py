"""A picture is encoded once, whatever sources of one cache it is in."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from recording_source import RecordingSource

from visual_memory.data import selection
from visual_memory.encoders.embedding import blocks, resumable
from visual_memory.encoders.embedding.embed import embed, embed_with_report
from visual_memory.encoders.encoder import load_encoder

PIXELS = load_encoder("pixels", size=4)


@functools.cache  # Not where tests are only collected.
def _vit():
  return load_encoder("vit_random", size=4, patch=2, dim=32, depth=1, heads=2)


@pytest.fixture
def encoded(monkeypatch):
  """The rows that the encoder was given, run after run."""
  rows, inner = [], resumable.embed_batches

  def embed_batches(encoder, host_batches, **options):
    def noted():
      for batch in host_batches:
        rows.extend(batch.rows[batch.data.mask].tolist())
        yield batch

    return inner(encoder, noted(), **options)

  monkeypatch.setattr(resumable, "embed_batches", embed_batches)
  return rows


def _again(encoder, source, cache_dir, encoded, **options):
  """What a source gives, the report, and how many pictures were encoded."""
  encoded.clear()
  embedded, report = embed_with_report(
    encoder, source, cache_dir=cache_dir, **options
  )
  rest = len(source) - len(encoded) - report.num_reused
  assert rest in (0, len(report.skipped))  # Tried again, or kept as skipped.
  return embedded, len(encoded)


@pytest.mark.parametrize("options", [{}, {"tokens": "patches"}])
def test_a_subset_or_another_split_encodes_nothing(tmp_path, encoded, options):
  source = RecordingSource(num_rows=1200)
  whole, count = _again(_vit(), source, tmp_path, encoded, **options)
  assert count == 1200
  per_image = len(whole) // len(source)
  for rows in ([700, 3, 1, 1100], range(0, 1200, 2), range(1199, -1, -1)):
    subset = selection.subset(source, rows)
    found, count = _again(_vit(), subset, tmp_path, encoded, **options)
    assert not count
    kept = np.asarray(rows)[:, None] * per_image + np.arange(per_image)
    np.testing.assert_array_equal(
      found.embeddings, whole.embeddings[kept.ravel()]
    )
    assert found.ids.tolist() == whole.ids[kept.ravel()].tolist()


def test_what_is_new_among_known_pictures_is_encoded_alone(tmp_path, encoded):
  source = RecordingSource(num_rows=1100, unreadable=(5, 600))
  embed(_vit(), selection.subset(source, range(0, 1100, 2)), cache_dir=tmp_path)
  found, count = _again(_vit(), source, tmp_path, encoded)
  assert count == 549 and sorted(encoded) == [
    row for row in range(1, 1100, 2) if row != 5
  ]
  expected = embed(_vit(), source)
  np.testing.assert_allclose(
    found.embeddings, expected.embeddings, atol=1e-6, rtol=0
  )
  assert found.ids.tolist() == expected.ids.tolist()
  _, count = _again(_vit(), source, tmp_path, encoded)
  assert not count  # The source's own blocks were kept.


def test_another_encoder_or_draw_of_patches_knows_nothing(tmp_path, encoded):
  source = RecordingSource(num_rows=20)
  subset = selection.subset(source, range(10))
  embed(_vit(), source, cache_dir=tmp_path)
  assert _again(PIXELS, subset, tmp_path, encoded)[1] == 10
  drawn = {"tokens": "patches", "per_image": 2}  # By each image's id.
  assert _again(_vit(), source, tmp_path, encoded, **drawn)[1] == 20
  assert _again(_vit(), subset, tmp_path, encoded, **drawn)[1] == 10


def _flip(path):
  data = bytearray(path.read_bytes())
  data[-3] ^= 1
  path.write_bytes(data)


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("damage", [_flip, pathlib.Path.unlink])
def test_a_damaged_entry_is_encoded_again(tmp_path, encoded, damage, suffix):
  source = RecordingSource(num_rows=1100)
  embed(_vit(), source, cache_dir=tmp_path)
  [path] = tmp_path.rglob(f"000000{suffix}")
  damage(path)
  found, count = _again(
    _vit(), selection.subset(source, range(1000, 1100)), tmp_path, encoded
  )
  assert count == 24  # Up to 1024 they lie in the block that is lost.
  np.testing.assert_allclose(
    found.embeddings, embed(_vit(), source).embeddings[1000:], atol=1e-6, rtol=0
  )


def test_a_block_that_goes_away_meanwhile_is_encoded(
  tmp_path, encoded, monkeypatch
):
  source = RecordingSource(num_rows=40)
  embed(_vit(), source, cache_dir=tmp_path)
  listed = blocks.pictures_of

  def then_gone(path):
    pictures = listed(path)
    path.unlink()
    return pictures

  monkeypatch.setattr(blocks, "pictures_of", then_gone)
  subset = selection.subset(source, [1, 2])
  assert _again(_vit(), subset, tmp_path, encoded)[1] == 2


_PROCESS = """
import sys
from recording_source import RecordingSource
from visual_memory.data import selection
from visual_memory.encoders.embedding.embed import embed
from visual_memory.encoders.encoder import load_encoder
first, last = int(sys.argv[2]), int(sys.argv[3])
source = selection.subset(RecordingSource(num_rows=1500), range(first, last))
embed(load_encoder("pixels", size=4), source, cache_dir=sys.argv[1])
"""


def test_two_processes_at_once_leave_a_whole_cache(tmp_path, encoded):
  here = pathlib.Path(__file__).parent
  running = [
    subprocess.Popen(
      [sys.executable, "-c", _PROCESS, tmp_path, *map(str, rows)],
      env={**os.environ, "PYTHONPATH": os.pathsep.join(
        [str(here), str(here.parent)]
      )},
    )
    for rows in ((0, 1000), (500, 1500), (0, 1000))
  ]  # fmt: skip
  assert [process.wait() for process in running] == [0, 0, 0]
  source = RecordingSource(num_rows=1500)
  found, count = _again(PIXELS, source, tmp_path, encoded)
  assert not count
  np.testing.assert_array_equal(
    found.embeddings, embed(PIXELS, source).embeddings
  )
  for path in tmp_path.rglob("[0-9]*.json"):
    assert blocks.read_block(path) is not None, json.loads(path.read_text())
