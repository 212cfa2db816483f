"""Whatever stops an edit, the store is as before it or as after it."""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
import store_cases
import store_editor
from store_cases import FailingDisk, PowerLoss, contents, numbered, small_store

from visual_memory import parallel
from visual_memory.store.errors import StoreError
from visual_memory.store.store import Store

pytestmark = pytest.mark.usefixtures("unannotated")
EDITS = {
  "add to a chunk": lambda s: s.add(numbered(100, 104), metadata={"a": 1}),
  "add chunks": lambda s: s.add(numbered(100, 170), metadata={"a": 1}),
  "remove a row": lambda s: s.remove(["number/17"]),
  "remove many": lambda s: s.remove([f"number/{n}" for n in range(12, 39)]),
  "relabel": lambda s: s.relabel(["number/3", "number/30"], ["new", "bee"]),
  "annotate": lambda s: s.annotate(["number/3"], {"a": "b" * 300}),
  "rename": lambda s: s.rename_class("ant", "wasp" * 2000),
  "compact": lambda s: s.compact(),
}
# Of the long ones every third operation, and all in the slow tests.
LONG = ("add chunks", "remove many", "compact")
STRIDES = [(name, 3 if name in LONG else 1) for name in EDITS]
STRIDES += [pytest.param(name, 1, marks=pytest.mark.slow) for name in LONG]


def stops(count, stride):
  """Operations to stop at: the first and the last are among them."""
  return sorted({*range(0, count, stride), count - 1})


def prepared():
  """The contents of a disk with a store on it that has been edited."""
  disk = FailingDisk()
  store = small_store(disk)
  store.add(numbered(50, 60), metadata={"who": "Ada"})
  store.remove([f"number/{n}" for n in [*range(4, 12), 53]])
  return disk.contents


@pytest.fixture(scope="module")
def before():
  """A disk's contents before the edits of this file."""
  return prepared()


def outcome(before, edit):
  """What the store holds after an edit, and how many operations it took."""
  disk = FailingDisk(before)
  store = Store.open(disk)
  start = disk.num_operations
  edit(store)
  return contents(store), disk.num_operations - start


def assert_whole(disk_contents, *, allowed):
  """Asserts that a disk holds a sound store with allowed contents."""
  store = Store.open(FailingDisk(disk_contents))
  store.verify()
  held = contents(store)
  assert held in allowed
  store.add(numbered(900, 903))
  store.remove(["number/902"])
  store.verify()
  assert contents(store)[:-2] == held


@pytest.mark.parametrize(("name", "stride"), STRIDES)
def test_losing_power_at_any_operation_loses_nothing(before, name, stride):
  allowed = [contents(Store.open(FailingDisk(before)))]
  after, count = outcome(before, EDITS[name])
  allowed.append(after)
  seen = set()
  for stop in stops(count, stride):
    disk = FailingDisk(before, fail_at=stop, seed=stop)
    with store_cases.one_at_a_time(stop), pytest.raises(PowerLoss):
      EDITS[name](Store(disk))
    # A second loss, while the first is being repaired, changes nothing.
    again = FailingDisk(disk.contents, fail_at=stop // 3, seed=stop)
    with store_cases.one_at_a_time(stop), contextlib.suppress(PowerLoss):
      Store.open(again)
    assert_whole(again.contents, allowed=allowed)
    seen.add(contents(Store.open(FailingDisk(again.contents))) == after)
  assert seen == {True} if name == "compact" else seen == {False, True}


def test_losing_power_while_creating_leaves_nothing_or_all():
  whole = FailingDisk()
  expected = contents(small_store(whole))
  for stop in range(whole.num_operations):
    disk = FailingDisk(fail_at=stop, seed=stop)
    with store_cases.one_at_a_time(stop), pytest.raises(PowerLoss):
      small_store(disk)
    repaired = FailingDisk(disk.contents)
    try:
      store = Store.open(repaired)
    except StoreError:
      store = small_store(repaired)
    assert contents(store) == expected
    store.verify()


@pytest.mark.parametrize(("name", "stride"), STRIDES)
def test_a_full_disk_changes_nothing(before, name, stride):
  unchanged = contents(Store.open(FailingDisk(before)))
  after, count = outcome(before, EDITS[name])
  for stop in stops(count, stride):
    disk = FailingDisk(before, fail_at=stop, error=OSError, seed=stop)
    store = Store(disk)
    try:
      EDITS[name](store)
      expected = after
    except OSError as error:
      assert error.errno == 28
      expected = after if name == "compact" else unchanged
    assert contents(store) == expected  # The same handle can still be used,
    disk._fail_at = None  # and edits when there is space again.
    store.add(numbered(900, 903))
    store.verify()
    assert contents(store)[:-3] == expected


def test_a_row_is_removed_on_a_full_disk(before):
  disk = FailingDisk(before, fail_at=0, error=OSError)
  store = Store(disk)
  with pytest.raises(OSError):
    store.add(numbered(100, 200))
  store.relabel(["number/3"], ["bee"])
  store.remove(["number/3"])
  assert "number/3" not in store.ids
  store.verify()


def test_a_full_file_system_changes_nothing(tmp_path):
  place = tmp_path / "small"
  place.mkdir()
  mounted = subprocess.run(
    ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place],
    capture_output=True,
  )
  if mounted.returncode:
    pytest.skip("only root may mount a small file system")
  try:
    store = small_store(place / "store")
    with pytest.raises(OSError, match="No space"):
      for first in range(100, 100_000, 2000):
        before = contents(store)
        store.add(numbered(first, first + 2000))
    assert contents(store) == before
    assert contents(Store.open(place / "store")) == before
    store.verify()
    store.remove(["number/1"])
    store.verify()
  finally:
    subprocess.run(["umount", place], check=True)


@contextlib.contextmanager
def read_only(path):
  """Makes a directory unwritable, even for root where that is possible."""
  if os.geteuid():
    for folder, _, names in os.walk(path):
      for name in names:
        os.chmod(os.path.join(folder, name), 0o444)
      os.chmod(folder, 0o555)
    yield
    return
  bind = ["mount", "--bind", path, path]
  if subprocess.run(bind, capture_output=True).returncode:
    pytest.skip("this root may not mount")
  try:
    subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)
    yield
  finally:
    subprocess.run(["umount", path], check=True)


def test_a_read_only_store_is_read_and_not_edited(tmp_path):
  expected = contents(small_store(tmp_path / "store"))
  with read_only(tmp_path / "store"):
    store = Store.open(tmp_path / "store")
    assert contents(store) == expected
    store.verify()
    assert len(store.load()) == 40
    with pytest.raises(StoreError, match="cannot be edited: (Read-o|Perm)"):
      store.remove(["number/1"])


@pytest.fixture(scope="module")
def editor():
  """A process that starts others that edit stores."""
  editor = store_editor.Editor()
  yield editor
  editor.close()


def killed_at_random(editor, tmp_path, trials, seed):
  """Kills a process that edits a store, again and again; checks every time."""
  path, delays = str(tmp_path / "store"), random.Random(seed)
  small_store(path)
  held = {f"number/{n}": (n % 5, {}) for n in range(40)}
  step, outcomes = 0, []
  for trial in range(trials):
    progress = tmp_path / f"progress{trial}"
    progress.touch()
    arguments = (path, seed, step, list(held.items()), str(progress))
    pid = editor.start("edit_until_killed", *arguments)
    # Some edits end before the kill, however slow the machine is.
    ended, begun = delays.randrange(3), time.monotonic()
    while progress.stat().st_size < 1 + ended:
      assert time.monotonic() - begun < 3600, "The editor makes no progress."
      time.sleep(0.0005)
    time.sleep(delays.random() * 0.03)
    os.kill(pid, signal.SIGKILL)
    assert editor.status() == -signal.SIGKILL
    for _ in range(progress.stat().st_size - 1):
      held = store_cases.edited(held, store_cases.planned(seed, step, held))
      step += 1
    store = Store.open(path)
    store.verify()
    found = contents(store)
    following = store_cases.edited(held, store_cases.planned(seed, step, held))
    finished = found == store_cases.held_contents(following)
    assert finished or found == store_cases.held_contents(held)
    if finished:
      held, step = following, step + 1
    outcomes.append(finished)
  return outcomes


def test_a_killed_writer_loses_nothing(editor, tmp_path):
  killed_at_random(editor, tmp_path, 15, seed=1)


@pytest.mark.slow
def test_a_writer_killed_hundreds_of_times_loses_nothing(editor, tmp_path):
  outcomes = killed_at_random(editor, tmp_path, 300, seed=2)
  assert any(outcomes)  # Some edits were finished by the next process.


def readers_of_a_sliding_store(editor, tmp_path, *, num_edits, changes):
  """Reads a store that changes so often, while another process edits it."""
  width, enough = 50, tmp_path / "enough"
  path = str(tmp_path / "store")
  small_store(path, width)
  reader = Store.open(path)
  reader.relabel(reader.ids, [0] * width)
  last = width + store_cases.MOST_SLIDES
  expected = store_cases.numbered(0, last).embeddings
  memory, seen = reader.load(capacity=500), set()
  editor.start("slide", path, num_edits, width, str(enough))
  done = threading.Event()
  statuses = []

  def wait():
    statuses.append(editor.status())
    done.set()

  threading.Thread(target=wait).start()
  while not done.is_set():
    for handle in (reader, Store.open(path)):
      rows = handle.embedded()
      numbers = [int(row_id.split("/")[1]) for row_id in rows.ids]
      assert numbers == list(range(numbers[0], numbers[-1] + 1))
      assert len(numbers) in (width, width + 1)
      assert len(set(rows.labels.tolist())) == 1
      np.testing.assert_array_equal(rows.embeddings, expected[numbers])
      seen.add((numbers[0], numbers[-1], int(rows.labels[0])))
    if len(seen) > changes:
      enough.touch()
    memory = reader.refresh(memory, donate=True)
    held = memory.embedded()
    numbers = [int(row_id.split("/")[1]) for row_id in held.ids]
    np.testing.assert_array_equal(held.embeddings, expected[numbers])
    assert len(set(held.labels.tolist())) == 1
  assert statuses == [0]
  assert reader.verify().num_rows == width
  assert list(reader.refresh(memory).embedded().ids) == list(reader.ids)
  assert len(seen) > changes


def test_readers_see_whole_generations(editor, tmp_path):
  readers_of_a_sliding_store(editor, tmp_path, num_edits=60, changes=5)


@pytest.mark.slow
def test_readers_see_whole_generations_in_a_thousand_edits(editor, tmp_path):
  readers_of_a_sliding_store(editor, tmp_path, num_edits=1002, changes=50)


def test_a_failed_operation_leaves_no_other_running():
  finished = []

  def call(item):
    if not item:
      raise OSError(28, "No space left on device")
    time.sleep(0.05)
    finished.append(item)

  with pytest.raises(OSError):
    parallel.run(call, [0, 1, 2])
  seen = list(finished)
  time.sleep(0.2)
  assert finished == seen
