"""What is done as soon as another package is imported, and never before.

  when_imported.call("jax", use_compilation_cache)

So a setting of JAX needs no import of JAX, which takes half a second.
"""

import importlib.util
import sys
from collections.abc import Callable
from importlib import abc


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
