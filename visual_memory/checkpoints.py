"""Saves pytrees of arrays to a directory and brings them back, exactly.

  save("runs/1/step_100", {"params": params, "step": step})
  tree = restore("runs/1/step_100", template)

A checkpoint is written beside its final place and renamed when complete, so
it is there whole or not at all. Leaves are stored under their paths in the
tree ("params/blocks/0/attn/qkv/kernel"), which any Orbax reader can open.
`template` says what is expected: a tree of arrays or jax.ShapeDtypeStructs, in
which a sharding says where a leaf goes. Every process of a run calls these
functions with the same arguments.
"""

import os
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

_MARKER = "_CHECKPOINT_METADATA"
"""The file that Orbax writes into a finished checkpoint."""


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
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path, leaves, force=overwrite)


def restore(path: str | os.PathLike, template: Any) -> Any:
  """The tree that was saved, in the structure of a template.

  Args:
    path: a directory that `save` wrote.
    template: a tree with the same leaves. A leaf with a `sharding` comes back
      as a device array there; any other as a NumPy array.

  Raises:
    ValueError: no finished checkpoint is there, or its leaves are not those
      of the template: lists every missing, extra and misshapen one.
  """
  path = _absolute(path)
  if not is_checkpoint(path):
    raise ValueError(f"{path} is not a finished checkpoint.")
  wanted = _by_path(template)
  with ocp.StandardCheckpointer() as checkpointer:
    _check(path, wanted, checkpointer.metadata(path).item_metadata.tree)
    leaves = checkpointer.restore(path, _targets(wanted))
  return jax.tree.unflatten(
    jax.tree.structure(template), [leaves[name] for name in wanted]
  )


class Rolling:
  """Checkpoints of one run, written in the background: the newest and the best.

    with Rolling("runs/1/checkpoints") as rolling:
      rolling.save("last", step, state)        # DIR/last/STEP
      rolling.save("best", step, state)        # DIR/best/STEP

  Of each kind the older ones go once a newer one is finished, so that a
  process killed at any moment leaves a whole one.
  """

  def __init__(self, directory: str | os.PathLike):
    """Nothing is written yet."""
    self._directory = _absolute(directory)
    self._checkpointer = ocp.StandardCheckpointer()
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
    self._checkpointer.save(path, _by_path(copies))
    self._written.add(path)

  def wait(self) -> None:
    """Returns when all is on disk, and removes what it replaces."""
    self._checkpointer.wait_until_finished()
    if jax.process_index() == 0:
      for path in self._written:
        for older in path.parent.iterdir():
          if older.name.isdigit() and int(older.name) < int(path.name):
            older.rmtree()
    self._written.clear()


def is_checkpoint(path: str | os.PathLike) -> bool:
  """Whether a finished checkpoint is at this path."""
  return (_absolute(path) / _MARKER).exists()


def latest(directory: str | os.PathLike) -> epath.Path | None:
  """The finished checkpoint with the largest number as its name, or None."""
  directory = _absolute(directory)
  if not directory.is_dir():
    return None
  steps = [
    child
    for child in directory.iterdir()
    if child.name.isdigit() and is_checkpoint(child)
  ]
  return max(steps, key=lambda child: int(child.name), default=None)


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


def _targets(wanted: dict[str, Any]) -> dict[str, Any]:
  """What Orbax should make of each leaf."""
  return {
    name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    if getattr(leaf, "sharding", None) is not None
    else np.zeros(leaf.shape, leaf.dtype)
    for name, leaf in wanted.items()
  }


def _check(path: Any, wanted: dict[str, Any], found: dict[str, Any]) -> None:
  """Raises ValueError unless the same leaves are in both, alike."""
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
    raise ValueError(
      f"{path} holds another tree than expected:\n  " + "\n  ".join(problems)
    )
