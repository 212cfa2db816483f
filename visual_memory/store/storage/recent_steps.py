"""What led from one generation to the next: how a memory is brought up to date.

A state keeps its last steps, so that a refresh looks at the rows of the chunks
that changed, and not at all of them.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from visual_memory.store.storage import manifest
from visual_memory.store.storage.columns import Columns

Serials = dict[int, np.ndarray | None]
"""Of every slot of some chunks; None for a chunk that there was not."""
_MOST = 1000


@dataclasses.dataclass(frozen=True)
class Step:
  """What one step from a generation to a later one did to rows.

  Attributes:
    since: the generation before it.
    chunks: the row chunks that changed.
    gone: serials that are not where they were before, in those chunks.
  """

  since: int
  chunks: frozenset[int]
  gone: np.ndarray


Steps = tuple[Step, ...]
"""Each from where the one before it ended; the last one ends now."""


def since(steps: Steps, generation: int, *, now: int) -> Steps | None:
  """What was done to rows since a generation; None if nobody knows."""
  if generation == now:
    return ()
  for number, step in enumerate(steps):
    if step.since == generation:
      return steps[number:]
  return None


def serials_of(
  columns: Columns, chunks: Iterable[int], *, there: int
) -> Serials | None:
  """The serials in some chunks, before they change.

  Args:
    columns: of the generation before.
    chunks: which.
    there: how many chunks there are.

  Returns:
    None where a chunk that there is was not read: nobody will be able to tell
    what is gone.
  """
  found = {chunk: columns.held("serials", chunk) for chunk in chunks}
  unread = [c for c, old in found.items() if old is None and c < there]
  return None if unread else found


def after(
  steps: Steps,
  before: manifest.Manifest,
  serials: Serials | None,
  columns: Columns,
  *,
  others: Iterable[int] = (),
) -> Steps:
  """The steps once there is one more.

  Args:
    steps: up to the generation before.
    before: its manifest.
    serials: those in the chunks whose rows changed.
    columns: of the generation after it.
    others: further chunks that changed, in which the same rows are.
  """
  if serials is None:
    return ()
  gone = [np.zeros(0, np.int64)]
  for chunk, old in serials.items():
    if old is None:
      continue
    if chunk < columns.num_chunks:
      old = old[old != columns.chunk("serials", chunk)]
    gone.append(old[old >= 0])
  chunks = frozenset({*serials, *others})
  step = Step(before.generation, chunks, np.concatenate(gone))
  return (*steps, step)[-_MOST:]
