"""Saves pytrees of arrays to a directory and brings them back, exactly.

  save("runs/1/step_100", {"params": params, "step": step})
  tree = restore("runs/1/step_100", template)

A checkpoint is written beside its final place and renamed when complete, so
it is there whole or not at all. Leaves are stored under their paths in the
tree ("params/blocks/0/attn/qkv/kernel"), which any Orbax reader can open; with
them goes a checksum of each, so that a damaged checkpoint is not taken for a
good one.
`template` says what is expected: a tree of arrays or jax.ShapeDtypeStructs, in
which a sharding says where a leaf goes. Every process of a run calls these
functions with the same arguments.
"""

import logging
import os
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from visual_memory.files import reason

_KEPT = 2
"""Checkpoints of one kind that `Rolling` leaves."""

_MARKER = "_CHECKPOINT_METADATA"
"""The file that Orbax writes into a finished checkpoint."""


_CHECKSUMS = "checksums"
"""The leaf that holds a number for each other leaf, in order of their names."""


class WrongTree(ValueError):
  """A whole checkpoint, but of other leaves than expected."""


class Damaged(ValueError):
  """A checkpoint that cannot be read, or holds other bits than were saved."""


def _no_chatter(record: logging.LogRecord) -> bool:
  """Whether a line of the log is not one of Orbax's about its progress."""
  return record.levelno >= logging.WARNING or "orbax" not in record.pathname


logging.getLogger("absl").addFilter(_no_chatter)


def save(
  path: str | os.PathLike, tree: Any, *, overwrite: bool = False
) -> None:
  """Writes a pytree of arrays and numbers; returns when it is on disk.

  Args:
    path: the checkpoint's directory; its parents are made.
    tree: device arrays (however sharded), NumPy arrays and Python numbers.
    overwrite: whether a checkpoint that is there already is replaced.

  Raises:
    ValueError: there is a checkpoint already, or an empty array, or no leaf.
  """
  path = _absolute(path)
  leaves = _by_path(tree)
  if not leaves:
    raise ValueError(f"There is nothing to save in {path}: no leaf at all.")
  for name, leaf in leaves.items():
    if not np.size(leaf):
      raise ValueError(f"{name} is an empty array, which cannot be saved.")
  if is_checkpoint(path) and not overwrite:
    raise ValueError(
      f"{path} already holds a checkpoint: choose another directory, or pass"
      " overwrite=True."
    )
  with _checkpointer() as checkpointer:
    checkpointer.save(path, _with_checksums(leaves), force=overwrite)


def restore(path: str | os.PathLike, template: Any) -> Any:
  """The tree that was saved, in the structure of a template.

  Args:
    path: a directory that `save` wrote.
    template: a tree with the same leaves. A leaf with a `sharding` comes back
      as a device array there; any other as a NumPy array.

  Raises:
    WrongTree: its leaves are not those of the template: lists every missing,
      extra and misshapen one.
    Damaged: it cannot be read, or a leaf is not what was saved.
    ValueError: no finished checkpoint is there.
  """
  path = _absolute(path)
  if not is_checkpoint(path):
    raise ValueError(f"{path} is not a finished checkpoint.")
  wanted = _by_path(template)
  try:
    with _checkpointer() as checkpointer:
      found = dict(checkpointer.metadata(path).item_metadata.tree)
      expected = found.pop(_CHECKSUMS, None)
      _check(path, wanted, found)
      targets = _targets(wanted)
      if expected is not None:
        targets[_CHECKSUMS] = np.zeros(len(wanted), np.uint32)
      leaves = checkpointer.restore(path, targets)
  except WrongTree:
    raise
  except Exception as error:  # Whatever a reader of a torn file may raise.
    raise Damaged(f"{path} is damaged: {reason(error)}.") from error
  if expected is not None:
    sums = leaves.pop(_CHECKSUMS)
    for name, right in zip(sorted(leaves), sums, strict=True):
      if _checksum(leaves[name]) != right:
        raise Damaged(f"{path} is damaged: {name} is not what was saved.")
  return jax.tree.unflatten(
    jax.tree.structure(template), [leaves[name] for name in wanted]
  )


def restore_newest(directory: str | os.PathLike, template: Any) -> Any:
  """The newest checkpoint of a directory that is whole; None without any.

  A damaged one is passed over, with a warning that names it.

  Args:
    directory: holds checkpoints whose names are numbers.
    template: as of `restore`.

  Raises:
    WrongTree: as `restore`.
    Damaged: there are some, and all are damaged: names the newest.
  """
  problem = None
  for path in finished(directory):
    try:
      tree = restore(path, template)
    except Damaged as error:
      problem = problem or error
      continue
    if problem:
      warnings.warn(
        f"{problem} The run goes on from step {path.name}.", stacklevel=2
      )
    return tree
  if problem:
    raise problem
  return None


class Rolling:
  """Checkpoints of one run, written in the background: the newest and the best.

    with Rolling("runs/1/checkpoints") as rolling:
      rolling.save("last", step, state)        # DIR/last/STEP
      rolling.save("best", step, state)        # DIR/best/STEP

  Of each kind the two newest stay: a process killed at any moment leaves a
  whole one, and a disk that loses one leaves the one before.
  """

  def __init__(self, directory: str | os.PathLike):
    """Nothing is written yet."""
    self._directory = _absolute(directory)
    self._checkpointer = _checkpointer()
    self._written: set[epath.Path] = set()

  def __enter__(self) -> "Rolling":
    """Itself."""
    return self

  def __exit__(self, *exception: Any) -> None:
    """Waits until everything is on disk."""
    self.wait()
    self._checkpointer.close()

  def save(self, kind: str, step: int, tree: Any) -> None:
    """Begins to write a pytree of device arrays; they may be reused at once.

    Waits for what is still being written. A checkpoint of this step that is
    there already is kept.
    """
    self.wait()
    path = self._directory / kind / str(step)
    if is_checkpoint(path):
      return
    # A copy, since the next training step reuses the memory of its arguments.
    copies = jax.tree.map(lambda leaf: leaf.copy(), tree)
    self._checkpointer.save(path, _with_checksums(_by_path(copies)))
    self._written.add(path)

  def wait(self) -> None:
    """Returns when all is on disk, and removes what it replaces."""
    self._checkpointer.wait_until_finished()
    if jax.process_index() == 0:
      for directory in {path.parent for path in self._written}:
        for older in finished(directory)[_KEPT:]:
          older.rmtree()
    self._written.clear()


def is_checkpoint(path: str | os.PathLike) -> bool:
  """Whether a finished checkpoint is at this path."""
  return (_absolute(path) / _MARKER).exists()


def latest(directory: str | os.PathLike) -> epath.Path | None:
  """The finished checkpoint with the largest number as its name, or None."""
  return next(iter(finished(directory)), None)


def finished(directory: str | os.PathLike) -> list[epath.Path]:
  """The finished checkpoints whose names are numbers, the largest first."""
  directory = _absolute(directory)
  if not directory.is_dir():
    return []
  steps = [
    child
    for child in directory.iterdir()
    if child.name.isdigit() and is_checkpoint(child)
  ]
  return sorted(steps, key=lambda child: int(child.name), reverse=True)


def _checkpointer() -> Any:
  """Orbax's own; imported now, since most encoders need none of it."""
  import orbax.checkpoint as ocp

  return ocp.StandardCheckpointer()


def _absolute(path: str | os.PathLike) -> epath.Path:
  """An absolute path that may also be a bucket's URL."""
  return epath.Path(path).absolute()


def _by_path(tree: Any) -> dict[str, Any]:
  """The leaves of a tree under their slash-separated paths, in tree order."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    if hasattr(leaf, "dtype")
    else np.asarray(leaf)
    for path, leaf in leaves
  }


def _with_checksums(leaves: dict[str, Any]) -> dict[str, Any]:
  """The leaves and, under a name of its own, a number for each of them."""
  sums = [_checksum(leaves[name]) for name in sorted(leaves)]
  return {**leaves, _CHECKSUMS: np.array(sums, np.uint32)}


def _checksum(leaf: Any) -> int:
  """A number that changes with any bit of a leaf, however it is sharded."""
  if isinstance(leaf, jax.Array):
    return int(_device_checksum(leaf))
  values = np.ascontiguousarray(leaf).reshape(-1)
  words = values.view(f"u{min(4, values.itemsize)}").astype(np.uint32)
  places = np.arange(len(words), dtype=np.uint32)
  return int(np.sum(words * _weights(places), dtype=np.uint32))


@jax.jit
def _device_checksum(leaf: jax.Array) -> jax.Array:
  """`_checksum` on the devices; integer sums have no order."""
  bits = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}
  if leaf.dtype == bool:
    leaf = leaf.astype(jnp.uint8)
  words = jax.lax.bitcast_convert_type(
    leaf, bits.get(leaf.dtype.itemsize, jnp.uint32)
  ).astype(jnp.uint32)
  places, stride = jnp.zeros(words.shape, jnp.uint32), 1
  for axis in reversed(range(words.ndim)):
    at = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    places += at * np.uint32(stride % 2**32)
    stride *= words.shape[axis]
  return jnp.sum(words * _weights(places), dtype=jnp.uint32)


def _weights(places: Any) -> Any:
  """An odd number for each place: no bit is lost, no two places are alike."""
  return places * np.uint32(2 * 0x4F1BBCDD) + np.uint32(1)


def _targets(wanted: dict[str, Any]) -> dict[str, Any]:
  """What Orbax should make of each leaf."""
  return {
    name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    if getattr(leaf, "sharding", None) is not None
    else np.zeros(leaf.shape, leaf.dtype)
    for name, leaf in wanted.items()
  }


def _check(path: Any, wanted: dict[str, Any], found: dict[str, Any]) -> None:
  """Raises WrongTree unless the same leaves are in both, alike."""
  problems = [f"missing: {name}" for name in wanted if name not in found]
  problems += [f"unexpected: {name}" for name in found if name not in wanted]
  for name in wanted.keys() & found.keys():
    mine = tuple(wanted[name].shape), np.dtype(wanted[name].dtype)
    its = tuple(found[name].shape), np.dtype(found[name].dtype)
    if mine != its:
      problems.append(
        f"{name} is {its[1]}{list(its[0])}, expected {mine[1]}{list(mine[0])}"
      )
  if problems:
    raise WrongTree(
      f"{path} holds another tree than expected:\n  " + "\n  ".join(problems)
    )
