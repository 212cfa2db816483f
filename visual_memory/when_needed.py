"""What is done when it is needed, and never before.

  when_needed.call("jax", use_compilation_cache)

So a setting of JAX needs no import of JAX, which takes half a second. And a
field of a dataclass is computed when it is first read:

  ids: np.ndarray | Callable[[], np.ndarray] = when_needed.Field()

  Found(ids=lambda: looked_up)     # or the ids themselves
"""

import importlib.util
import sys
from collections.abc import Callable
from importlib import abc
from typing import Any


def call(name: str, then: Callable[[], None]) -> None:
  """Calls `then` once the module has been imported: now, if it has been.

  Later calls for a module come in the order in which they were asked for.
  """
  if name in sys.modules:
    then()  # Where it is only half imported, its own import there waits.
    return
  for finder in sys.meta_path:
    if isinstance(finder, _Finder) and finder.name == name:
      finder.calls.append(then)
      return
  sys.meta_path.insert(0, _Finder(name, [then]))


def pytree(kind: type) -> type:
  """A dataclass that JAX is told of: all of its fields are leaves."""

  def register() -> None:
    import jax

    jax.tree_util.register_dataclass(kind)

  call("jax", register)
  return kind


class _Finder(abc.MetaPathFinder):
  """Finds one module as the finders below it do, with a loader that tells."""

  def __init__(self, name: str, calls: list[Callable[[], None]]):
    self.name, self.calls = name, calls

  def find_spec(self, name, path=None, target=None):
    """The module's own spec, once; afterwards this finder is gone."""
    if name != self.name or self not in sys.meta_path:
      return None
    sys.meta_path.remove(self)
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
      sys.meta_path.insert(0, self)  # It may be installed later.
      return spec
    run = spec.loader.exec_module

    def run_and_tell(module):
      run(module)
      for then in self.calls:
        then()

    spec.loader.exec_module = run_and_tell
    return spec


class Field:
  """What the field was given or, of a function, what it returns: once."""

  def __set_name__(self, owner: type, name: str):
    """The value stands beside the other attributes, as `_name`."""
    self._name = f"_{name}"

  def __get__(self, instance: Any, owner: type | None = None) -> Any:
    """The value; raises AttributeError of the class: there is no default."""
    if instance is None:
      raise AttributeError(f"{self._name[1:]} has no default.")
    value = vars(instance)[self._name]
    if callable(value):
      value = vars(instance)[self._name] = value()
    return value

  def __set__(self, instance: Any, value: Any) -> None:
    """Takes a value, or a function that is called when it is read."""
    vars(instance)[self._name] = value
