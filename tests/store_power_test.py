"""A recorder's disk images: no loss of power loses what an edit returned."""

import contextlib
import os
import random
import shutil

import pytest
import store_cases
from power_loss import Disk, Recorder, cuts, write_image

from visual_memory.store.errors import StoreError
from visual_memory.store.storage import local, remote
from visual_memory.store.store import Store

pytestmark = pytest.mark.usefixtures("unannotated")
_EDITS = 14


@contextlib.contextmanager
def without_syncs():
  """What opens an image need not wait for this machine's own disk."""
  with pytest.MonkeyPatch.context() as patched:
    patched.setattr(os, "fsync", lambda file: None)
    patched.setattr(local, "_sync", lambda file: None)
    yield


def planned_states(seed):
  """Edits one after the other, and what a store holds after each."""
  held = {f"number/{n}": (n % 5, {}) for n in range(40)}
  edits, states = [], [held]
  for step in range(_EDITS):
    edits.append(store_cases.planned(seed, step, held))
    held = store_cases.edited(held, edits[-1])
    states.append(held)
  return edits, states


def recorded(folder, seed):
  """The events of a store's creation and edits; "done" marks each return."""
  recorder = Recorder(folder)
  edits, _ = planned_states(seed)
  with recorder.recording(), pytest.MonkeyPatch.context() as patched:
    patched.setattr(local, "_sync", os.fdatasync)
    store = store_cases.small_store(os.path.join(folder, "store"))
    recorder.note("done", 0)
    for number, edit in enumerate(edits):
      store_cases.edit_store(store, edit)
      recorder.note("done", number + 1)
  return recorder.events


def assert_as_returned(path, done, states):
  """Asserts that a store holds what the edits that returned have left.

  The one that was going on may be in it or not.
  """
  try:
    store = Store.open(path)
  except StoreError as error:
    assert done < 0, error
    return None
  store.verify()
  found = store_cases.contents(store)
  allowed = [
    store_cases.held_contents(state)
    for state in states[max(done, 0) : done + 2]
  ]
  assert found in allowed, f"after edit {done}"
  return found


def assert_erased(image, done, states, rng):
  """Asserts that rows whose removal returned are in no file of an image."""
  gone = set().union(*states[: done + 1]) - set(states[done])
  data = b"".join(filter(None, image.values()))
  for row_id in rng.sample(sorted(gone), min(3, len(gone))):
    vector = store_cases.rows_of([row_id], [0]).embeddings[0]
    assert vector.tobytes() not in data, row_id


def losing_power(folder, *, images, seed):
  """Makes images of recorded stores and opens them; how they ended."""
  events = recorded(str(folder / "recorded"), seed)
  _, states = planned_states(seed)
  disk, done, at, ends = Disk(), -1, 0, []
  rng = random.Random(seed)
  for number, cut in enumerate(cuts(events, images, seed)):
    for event in events[at:cut]:
      disk.apply(event)
      done = event[1] if event[0] == "done" else done
    at = cut
    path = folder / f"image{number}"
    image = disk.image(rng)
    write_image(image, path)
    if done >= 0:
      assert_erased(image, done, states, rng)
    with without_syncs():
      ends.append((done, assert_as_returned(path / "store", done, states)))
    shutil.rmtree(path)
  return ends


def test_losing_power_loses_nothing_that_returned(tmp_path):
  (tmp_path / "recorded").mkdir()
  ends = losing_power(tmp_path, images=80, seed=1)
  assert len(ends) == 80 and len({done for done, _ in ends}) > _EDITS // 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 12))
def test_losing_power_hundreds_of_times_loses_nothing(tmp_path, seed):
  (tmp_path / "recorded").mkdir()
  assert len(losing_power(tmp_path, images=500, seed=seed)) == 500


def test_a_recorder_finds_what_was_not_synced(tmp_path, monkeypatch):
  # The model can fail: without syncs, edits that returned are lost.
  (tmp_path / "recorded").mkdir()
  events = recorded(str(tmp_path / "recorded"), 1)
  without = [event for event in events if event[0] != "sync"]
  disk = Disk()
  for event in without:
    disk.apply(event)
  _, states = planned_states(1)
  lost = 0
  for seed in range(10):
    path = tmp_path / f"image{seed}"
    write_image(disk.image(random.Random(seed)), path)
    try:
      assert_as_returned(path / "store", _EDITS, states)
    except (AssertionError, StoreError):
      lost += 1
  assert lost >= 8


# Buckets: objects are replaced whole, and a write is durable when it returns.


class RecordedObjects:
  """A bucket's objects, through TensorStore's file driver, with a log."""

  def __init__(self, objects, log):
    self._objects, self._log = objects, log

  def write(self, key, value, **options):
    written = self._objects.write(key, value, **options)
    name = key.decode() if isinstance(key, bytes) else key
    self._log.append((name, value))
    return written

  def read(self, *arguments, **options):
    return self._objects.read(*arguments, **options)

  def list(self, *arguments, **options):
    return self._objects.list(*arguments, **options)


@contextlib.contextmanager
def recorded_buckets(log):
  """Lets every bucket that is opened log its writes."""
  normal = remote.RemoteFiles.__init__

  def init(self, url, **options):
    normal(self, url, **options)
    self._objects = RecordedObjects(self._objects, log)

  remote.RemoteFiles.__init__ = init
  try:
    yield
  finally:
    remote.RemoteFiles.__init__ = normal


def losing_writers(folder, *, images, seed):
  """Ends a bucket's writer after any of its writes; opens what is there."""
  log, edits, states = [], *planned_states(seed)
  with recorded_buckets(log):
    store = store_cases.small_store(f"file://{folder}/recorded/")
    log.append(("done", 0))
    for number, edit in enumerate(edits):
      store_cases.edit_store(store, edit)
      log.append(("done", number + 1))
  for number, cut in enumerate(cuts(log, images, seed)):
    objects, done = {}, -1
    for key, value in log[:cut]:
      if key == "done":
        done = value
      else:
        objects[key] = value
    path = folder / f"image{number}"
    path.mkdir()
    for key, value in objects.items():
      if value is not None and key != "lock":  # Its lease is over by then.
        (path / key).parent.mkdir(exist_ok=True)
        (path / key).write_bytes(
          value if isinstance(value, bytes) else value.encode()
        )
    assert_as_returned(f"file://{path}/", done, states)
    shutil.rmtree(path)


def test_a_bucket_loses_nothing_that_returned(tmp_path, monkeypatch):
  monkeypatch.setattr(remote, "_PATIENCE_S", 0.0)
  losing_writers(tmp_path, images=40, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_a_bucket_loses_nothing_hundreds_of_times(tmp_path, monkeypatch, seed):
  monkeypatch.setattr(remote, "_PATIENCE_S", 0.0)
  losing_writers(tmp_path, images=250, seed=seed)
