"""What goes wrong with a store, and how it is said."""

from collections.abc import Sequence


class StoreError(RuntimeError):
  """A store cannot do what was asked; the message says why and what to do."""


class StoreLocked(StoreError):
  """Another writer is editing the store."""


class StoreUnfinished(StoreError):
  """An edit is in the store, but not yet in all of its files."""


class StoreDamaged(StoreError):
  """Stored bytes are not what was written.

  Attributes:
    problems: one sentence for every damaged place.
  """

  def __init__(self, problems: Sequence[str]):
    """An error that lists the problems (the first twenty in its message)."""
    self.problems = tuple(problems)
    shown = "\n  ".join(self.problems[:20])
    more = len(self.problems) - 20
    super().__init__(
      f"The store is damaged in {len(self.problems)} places:\n  {shown}"
      + (f"\n  ... and {more} more" if more > 0 else "")
    )


def sentence(error: BaseException) -> str:
  """Any error as the one sentence that a person reads of it."""
  if isinstance(error, OSError) and error.strerror:
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror}{where}."
  if isinstance(error, KeyError) and error.args:
    return str(error.args[0])  # str() of a KeyError has quotes around it.
  return str(error) or type(error).__name__
