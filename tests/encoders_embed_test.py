"""Embedding a source: the same rows however it is run, stopped or resumed."""

import io
import json
import os
import pathlib
import socket
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from recording_source import NUM_ROWS, UNREADABLE, RecordingSource

from visual_memory import distributed
from visual_memory.data import preprocess, selection
from visual_memory.encoders import builders
from visual_memory.encoders.embedding import blocks
from visual_memory.encoders.embedding.embed import embed, embed_with_report
from visual_memory.encoders.encoder import load_encoder, make_encoder
from visual_memory.encoders.parts import Parts
from visual_memory.progress import Progress

PIXELS = load_encoder("pixels", size=4)


@pytest.fixture(scope="module")
def expected():
  """What every way of embedding the readable source must give."""
  return embed(PIXELS, RecordingSource(), mesh=distributed.make_mesh(1))


def _assert_same(actual, expected):
  np.testing.assert_array_equal(actual.embeddings, expected.embeddings)
  np.testing.assert_array_equal(actual.labels, expected.labels)
  assert actual.ids.tolist() == expected.ids.tolist()
  assert actual.class_names == expected.class_names
  assert actual.fingerprint == expected.fingerprint


def test_rows_are_those_of_encode_with_their_labels(expected):
  source = RecordingSource()
  rows = [0, 31, 32, 1024, 2099]
  images = [source[row].image for row in rows]
  np.testing.assert_array_equal(
    expected.embeddings[rows], PIXELS.encode(images)
  )
  np.testing.assert_array_equal(expected.labels, source.labels)
  assert expected.ids.tolist() == source.ids.tolist()
  assert expected.class_names == source.class_names
  assert expected.fingerprint == PIXELS.fingerprint


@pytest.mark.parametrize("num_devices", [1, 3, 8])
def test_vit_rows_have_the_same_bits_on_any_number_of_devices(num_devices):
  encoder = load_encoder(
    "vit_random", size=4, patch=2, dim=32, depth=1, heads=2
  )
  source = RecordingSource(num_rows=200)
  actual = embed(encoder, source, mesh=distributed.make_mesh(num_devices))
  # The oracle is one device's program on each 32 rows, by hand.
  images = np.stack([source[row].image for row in range(192)])
  by_hand = [encoder.encode(images[at : at + 32]) for at in range(0, 192, 32)]
  np.testing.assert_array_equal(
    actual.embeddings[:192], np.concatenate(by_hand)
  )
  assert source.rows_read() == sorted([*range(200), *range(192)])


def test_every_image_is_read_once(mesh):
  source = RecordingSource()
  embed(PIXELS, source, mesh=mesh)
  assert source.rows_read() == list(range(NUM_ROWS))


@pytest.mark.parametrize("batch_size", [1, 64, 1024])
def test_batch_size_does_not_move_pixels(expected, batch_size):
  rows = slice(None, 100)
  source = RecordingSource(num_rows=NUM_ROWS)
  source = selection.subset(source, np.arange(100))
  actual = embed(
    PIXELS, source, batch_size=batch_size, mesh=distributed.make_mesh(2)
  )
  np.testing.assert_array_equal(actual.embeddings, expected.embeddings[rows])


def test_one_compilation_for_any_source(mesh):
  traces = []

  def apply(params, pixels):
    traces.append(pixels.shape)
    return builders.flatten(params, pixels)

  encoder = _encoder(apply)
  traces.clear()
  for num_rows in (700, 100, 1):
    embed(encoder, RecordingSource(num_rows=num_rows), mesh=mesh)
  assert traces == [(32, 4, 4, 3)]


def test_unreadable_images_are_skipped_and_counted(mesh, expected):
  source = RecordingSource(unreadable=UNREADABLE)
  actual, report = embed_with_report(PIXELS, source, mesh=mesh)
  kept = np.setdiff1d(np.arange(NUM_ROWS), UNREADABLE)
  _assert_same(actual, expected.take(kept))
  assert [skipped.row for skipped in report.skipped] == list(UNREADABLE)
  assert report.skipped[1].id == "row/1023"
  assert report.skipped[1].reason == "half of it is missing"
  assert (report.num_images, report.num_reused) == (NUM_ROWS, 0)
  assert report.images_per_s > 0


def test_nothing_readable_is_an_error():
  source = RecordingSource(num_rows=3, unreadable=(0, 1, 2))
  with pytest.raises(ValueError, match="None of the 3.*'row/0': half of it"):
    embed(PIXELS, source)


def test_no_rows_give_no_rows():
  embedded = embed(PIXELS, RecordingSource(num_rows=0))
  assert embedded.embeddings.shape == (0, 48)


@pytest.mark.parametrize("batch_size", [0, 3, 2048])
def test_batch_size_must_divide_a_block(batch_size):
  with pytest.raises(ValueError, match="power of two from 1 to 1024"):
    embed(PIXELS, RecordingSource(), batch_size=batch_size)


def test_nan_is_refused_before_anything_is_kept(tmp_path):
  def apply(params, pixels):
    return jnp.sqrt(builders.flatten(params, pixels))  # Of negative numbers.

  with pytest.raises(ValueError, match="id 'row/0'.*NaN"):
    embed(_encoder(apply), RecordingSource(), cache_dir=tmp_path)
  assert not list(tmp_path.rglob("*.npy"))


def test_finished_embeddings_are_only_read(tmp_path):
  first, second = (
    RecordingSource(unreadable=UNREADABLE),
    RecordingSource(unreadable=UNREADABLE),
  )
  expected, report = embed_with_report(PIXELS, first, cache_dir=tmp_path)
  actual, again = embed_with_report(PIXELS, second, cache_dir=tmp_path)
  _assert_same(actual, expected)
  assert not second.reads
  assert again.skipped == report.skipped and len(report.skipped) == 4
  assert again.num_reused == NUM_ROWS and again.images_per_s == 0


def test_stopped_run_continues_where_it_was(tmp_path, mesh, expected):
  stopped = RecordingSource(fails_at=1900)
  one = distributed.make_mesh(1)
  with pytest.raises(RuntimeError, match="went away"):
    embed(PIXELS, stopped, cache_dir=tmp_path, mesh=one)
  source = RecordingSource()
  actual, report = embed_with_report(
    PIXELS, source, cache_dir=tmp_path, mesh=mesh
  )
  _assert_same(actual, expected)
  assert report.num_reused == 1024
  assert source.rows_read() == list(range(1024, NUM_ROWS))


@pytest.mark.parametrize("num_renames", range(6))
def test_dying_at_any_rename_loses_no_finished_block(
  tmp_path, monkeypatch, expected, num_renames
):
  renames = []

  def replace(source, target):
    if len(renames) == num_renames:
      raise KeyboardInterrupt
    renames.append(target)
    os.rename(source, target)

  monkeypatch.setattr(os, "replace", replace)
  with pytest.raises(KeyboardInterrupt):
    embed(PIXELS, RecordingSource(), cache_dir=tmp_path)
  monkeypatch.undo()
  source = RecordingSource()
  _assert_same(embed(PIXELS, source, cache_dir=tmp_path), expected)
  # The key first, then two files for each block.
  finished = 1024 * (max(0, num_renames - 1) // 2)
  assert source.rows_read() == list(range(finished, NUM_ROWS))


def _truncate(path):
  path.write_bytes(path.read_bytes()[:-8])


def _flip(path):
  data = bytearray(path.read_bytes())
  data[-100] ^= 1
  path.write_bytes(data)


@pytest.mark.parametrize("damage", [_truncate, _flip, pathlib.Path.unlink])
@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_damaged_block_is_made_again(tmp_path, expected, damage, suffix):
  embed(PIXELS, RecordingSource(), cache_dir=tmp_path)
  [path] = tmp_path.rglob(f"000001{suffix}")
  damage(path)
  source = RecordingSource()
  _assert_same(embed(PIXELS, source, cache_dir=tmp_path), expected)
  assert source.rows_read() == list(range(1024, 2048))
  source = RecordingSource()
  _assert_same(embed(PIXELS, source, cache_dir=tmp_path), expected)
  assert not source.reads


def test_another_encoder_or_source_has_a_folder_of_its_own(tmp_path):
  source = RecordingSource(num_rows=10)
  other = load_encoder("pixels", size=4, mean=[0, 0, 0])
  for encoder in (PIXELS, other):
    source.reads.clear()
    embed(encoder, source, cache_dir=tmp_path)
    assert source.rows_read() == list(range(10))
  source.reads.clear()
  embed(PIXELS, selection.subset(source, [3, 1]), cache_dir=tmp_path)
  assert sorted(set(source.reads)) == [1, 3]
  assert len(list(tmp_path.iterdir())) == 3


def test_folder_of_another_key_is_refused(tmp_path):
  source = RecordingSource(num_rows=10)
  embed(PIXELS, source, cache_dir=tmp_path)
  [key] = tmp_path.rglob("key.json")
  key.write_text(key.read_text().replace(PIXELS.fingerprint, "another"))
  with pytest.raises(ValueError, match="renamed or edited. Delete it"):
    embed(PIXELS, source, cache_dir=tmp_path)


def test_cache_in_a_bucket_is_refused():
  with pytest.raises(ValueError, match="local or mounted directory"):
    embed(PIXELS, RecordingSource(num_rows=1), cache_dir="gs://bucket/cache")


def test_block_reads_back_as_it_was_written(tmp_path):
  cache = blocks.BlockCache(tmp_path, key={"a": 1})
  block = blocks.Block(
    rows=np.array([1024, 1026], np.int32),
    embeddings=np.array([[1, 0], [0.6, 0.8]], np.float32),
    skipped=(blocks.Skipped(row=1025, id="caf\udce9", reason="bad"),),
  )
  cache.write(1, block)
  actual = cache.read(1)
  assert actual.skipped == block.skipped
  np.testing.assert_array_equal(actual.rows, block.rows)
  np.testing.assert_array_equal(actual.embeddings, block.embeddings)
  assert cache.read(0) is None


def test_progress_prints_rate_and_time_left():
  now, stream = [0.0], io.StringIO()
  with Progress(
    100, what="images", stream=stream, clock=lambda: now[0]
  ) as progress:
    for _ in range(4):
      now[0] += 6
      progress.advance(10)
  assert stream.getvalue().splitlines() == [
    "20 of 100 images, 1.7 per second, 0:00:48 left",
    "40 of 100 images, 1.7 per second, 0:00:36 left",
    "40 of 100 images, 1.7 per second, 0:00:36 left",
  ]


def test_progress_of_a_short_job_is_silent():
  now, stream = [0.0], io.StringIO()
  with Progress(
    9, what="rows", stream=stream, clock=lambda: now[0]
  ) as progress:
    now[0] += 5
    progress.advance(9)
  assert not stream.getvalue()


def test_two_processes_of_two_devices_agree_with_one(tmp_path):
  source = RecordingSource(unreadable=UNREADABLE)
  expected = embed(PIXELS, source, mesh=distributed.make_mesh(1))
  outputs = [tmp_path / str(index) for index in range(2)]
  _run_processes(outputs, shared_cache=tmp_path / "shared")
  halves = [list(range(1024)), list(range(1024, NUM_ROWS))]
  reads = {"shared": halves, "own": halves, "none": halves}
  reads["first"] = [list(range(NUM_ROWS)), []]
  for index, output in enumerate(outputs):
    for run in reads:
      note = json.loads((output / f"{run}.json").read_text())
      assert note["reads"] == reads[run][index]
      assert note["ids"] == expected.ids.tolist()
      assert note["skipped"] == list(UNREADABLE)
      assert note["num_reused"] == 0
      assert note["num_reused_again"] == (
        NUM_ROWS if run in ("shared", "own") else 0
      )
      with np.load(output / f"{run}.npz") as arrays:
        rows, labels = arrays["embeddings"], arrays["labels"]
      np.testing.assert_array_equal(rows, expected.embeddings)
      np.testing.assert_array_equal(labels, expected.labels)


def _run_processes(outputs, *, shared_cache):
  """Runs embed_process.py once for each output, joined by jax.distributed."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  here = pathlib.Path(__file__).parent
  processes = [
    subprocess.Popen(
      [sys.executable, here / "embed_process.py", output, shared_cache],
      env=os.environ
      | {
        "PYTHONPATH": str(here.parent),
        "JAX_PLATFORMS": "cpu",
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(len(outputs)),
        "JAX_PROCESS_ID": str(index),
      },
      stderr=subprocess.PIPE,
      text=True,
    )
    for index, output in enumerate(outputs)
  ]
  try:
    errors = [process.communicate()[1] for process in processes]
  finally:
    for process in processes:
      process.kill()
  codes = [process.returncode for process in processes]
  assert codes == [0] * len(processes), "\n".join(errors)


def _encoder(apply):
  parts = Parts(
    params=(),
    apply=apply,
    preprocess=preprocess.square(4),
    weights_fingerprint="test",
  )
  return make_encoder("test", parts)
