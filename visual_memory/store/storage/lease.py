"""The lock of a bucket's one writer: an object that must be renewed.

It is created, renewed and deleted only as the object that this writer made
last (by its generation), so two writers never both have it. A writer that is
held up for longer than its lease has lost the lock, finds that out before it
writes anything more, and says so. Whether a process with some number lives is
asked nowhere: in containers, every host has the same name.
"""

import json
import os
import secrets
import socket
import threading
import time

import tensorstore

from visual_memory.store.errors import StoreLocked

KEY = "lock"
LEASE_S = 60.0
_RENEWALS = 4
"""In the time of a lease."""
_CLOCKS_S = 30.0
"""So much may the clocks of two writers differ."""
_POLL_S = 0.2


class Lease:
  """The lock, held from the beginning of a block to its end."""

  def __init__(self, objects: tensorstore.KvStore, root: str, timeout_s: float):
    """Nothing is taken yet.

    Args:
      objects: of the bucket.
      root: its URL, for errors.
      timeout_s: how long to wait for another writer.
    """
    self._objects, self._root, self._timeout_s = objects, root, timeout_s
    self._generation = b""
    self._until = 0.0
    self._lost = False
    self._mutex = threading.Lock()
    self._ended = threading.Event()

  def __enter__(self) -> "Lease":
    """Takes the lock and begins to renew it.

    Raises:
      StoreLocked: another writer has it.
    """
    self._take()
    name = "store-lease"
    self._renewing = threading.Thread(
      target=self._renew, name=name, daemon=True
    )
    self._renewing.start()
    return self

  def __exit__(self, *error) -> None:
    """Gives the lock back, if it is still this writer's."""
    self._ended.set()
    self._renewing.join()
    if not self._lost:
      write = self._objects.write(KEY, None, if_equal=self._generation)
      write.result()

  def check(self) -> None:
    """Raises StoreLocked if the lease is over, as far as is known here."""
    if self._lost or time.time() > self._until:
      self._lost = True
      raise StoreLocked(
        f"The lock of the store {self._root} was lost during an edit: another"
        " writer may have it. What this edit had committed is finished by the"
        " next one; open the store again and look whether it is there."
      )

  def confirm(self) -> None:
    """The same, after asking the bucket."""
    self.check()
    with self._mutex:
      found = self._objects.read(KEY).result().stamp.generation
      self._lost = self._lost or found != self._generation
    self.check()

  def _take(self) -> None:
    deadline = time.monotonic() + self._timeout_s
    while True:
      found = self._objects.read(KEY).result()
      if found.state == "missing" or _is_over(found.value):
        if self._write(found.stamp.generation):
          return
      if time.monotonic() >= deadline:
        raise StoreLocked(
          f"The store {self._root} is being edited by {_owner(found.value)}"
          f" (waited {self._timeout_s:g} s): let that edit finish; the lock of"
          f" a process that died ends {LEASE_S + _CLOCKS_S:g} s after it."
        )
      time.sleep(_POLL_S)

  def _write(self, generation: bytes) -> bool:
    """Replaces the lock object of a generation; whether that went well."""
    until = time.time() + LEASE_S
    owner = {
      "pid": os.getpid(),
      "host": socket.gethostname(),
      "until": until,
      "token": secrets.token_hex(8),
    }
    stamp = self._objects.write(
      KEY, json.dumps(owner).encode(), if_equal=generation
    ).result()
    if not stamp.generation:
      return False
    self._generation, self._until = stamp.generation, until
    return True

  def _renew(self) -> None:
    """Renews the lease again and again, until the block ends."""
    while not self._ended.wait(LEASE_S / _RENEWALS):
      try:
        with self._mutex:
          if time.time() > self._until or not self._write(self._generation):
            self._lost = True
            return
      except Exception:
        continue  # The network, perhaps: `check` sees when time is over.


def _is_over(lock: bytes) -> bool:
  """Whether a lease has ended by any of the writers' clocks."""
  try:
    until = json.loads(lock)["until"]
    return not time.time() <= float(until) + _CLOCKS_S
  except (ValueError, TypeError, KeyError):
    return True


def _owner(lock: bytes) -> str:
  """Who has a lock."""
  try:
    owner = json.loads(lock)
    return f"process {int(owner['pid'])} on {str(owner['host'])[:100]}"
  except (ValueError, TypeError, KeyError):
    return "another process"
