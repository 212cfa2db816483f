"""A field of a dataclass that is computed when it is first read.

@dataclasses.dataclass(frozen=True)
class Found:
  ids: np.ndarray | Callable[[], np.ndarray] = when_read.Field()

Found(ids=lambda: looked_up)     # or the ids themselves
"""

from typing import Any


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
