"""Dual memory networks: a base classifier, a dynamic and a static memory.

  fixed = class_rows(text=classifier, shots=shots, num_classes=C, dim=D)
  answers = answer(queries, guess, fixed=fixed, settings=Settings(), mesh=mesh)
  scores = fuse(answers.branches, alpha)

Variants: zero-shot (no shots, and so no static memory: text rows alone would
only count the text twice), training-free (shots), few-shot (shots and a
trained projection), out of distribution (zero-shot with the text of another
data set). Without a text tower the base is a visual memory's vote, and both
memories hold images alone.

Reference: Zhang et al., "Dual Memory Networks: A Versatile Adaptation Approach
for Vision-Language Models" (CVPR 2024).
"""

import dataclasses

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32

from visual_memory.distributed import map_rows
from visual_memory.dual_memory import dynamic_memory, reading, streams
from visual_memory.dual_memory.dynamic_memory import DynamicMemory
from visual_memory.dual_memory.fusion import Branches
from visual_memory.dual_memory.guesses import Guess
from visual_memory.dual_memory.reading import NoProjection, Projection
from visual_memory.dual_memory.streams import ClassRows, class_rows
from visual_memory.types import Ids, check_unit_rows

__all__ = [
  "IDENTITY",
  "Answers",
  "ClassRows",
  "Settings",
  "answer",
  "class_rows",
]

IDENTITY = NoProjection()
"""What an untrained network has in place of a projection."""

_BLOCK = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How the memories are kept and read; the defaults are published.

  Attributes:
    num_slots: L, of each class in the dynamic memory.
    sharpness: beta, how much likeness counts within a class.
    inverse_temperature: tau, how much it counts between classes.
    order: one of streams.ORDERS.
    form: one of streams.FORMS; a matter of speed.
    dynamic: whether there is a dynamic memory.
    keep_log: whether it keeps what exact forgetting needs.
  """

  num_slots: int = 50
  sharpness: float = 5.5
  inverse_temperature: float = 100.0
  order: str = "write_first"
  form: str = "parallel"
  dynamic: bool = True
  keep_log: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
  """What the network says about N queries, and the memory afterwards."""

  branches: Branches
  memory: DynamicMemory | None


def answer(
  queries: Float32[np.ndarray, "N D"],
  guess: Guess,
  *,
  fixed: ClassRows,
  settings: Settings,
  mesh: Mesh,
  projection: Projection = IDENTITY,
  memory: DynamicMemory | None = None,
  ids: Ids | None = None,
) -> Answers:
  """The branches for queries that come in this order.

  Args:
    queries: unit rows.
    guess: what the base says about them: probabilities, pseudo-labels.
    fixed: text rows and shots, in both memories.
    settings: how to keep and read.
    mesh: the devices.
    projection: trained, or none.
    memory: to go on with; by default an empty one.
    ids: of the queries, for a memory that keeps a log.

  Raises:
    ValueError: embeddings that are not finite unit rows, no slot, or a memory
      of another shape; names the first offender.
  """
  check_unit_rows(queries, dynamic_memory.names_of(len(queries), ids))
  static, dynamic, memory = cosines(
    queries,
    guess,
    fixed=fixed,
    settings=settings,
    mesh=mesh,
    projection=projection,
    memory=memory,
    ids=ids,
  )
  return Answers(
    branches=branches(
      guess,
      static,
      dynamic,
      inverse_temperature=settings.inverse_temperature,
    ),
    memory=memory,
  )


def cosines(
  queries: Float32[np.ndarray, "N D"],
  guess: Guess,
  *,
  fixed: ClassRows,
  settings: Settings,
  mesh: Mesh,
  projection: Projection = IDENTITY,
  memory: DynamicMemory | None = None,
  ids: Ids | None = None,
) -> tuple[np.ndarray | None, np.ndarray | None, DynamicMemory | None]:
  """What both memories answer with, before any temperature; see `answer`.

  Returns:
    Cosines of the static memory (None without shots) and of the dynamic one
    (None without), [N, C], and the dynamic memory afterwards.
  """
  static = dynamic = None
  if fixed.num_shots:
    static = static_read(
      queries, fixed, projection=projection, settings=settings, mesh=mesh
    )
  if not settings.dynamic:
    return static, None, None
  num_classes, _, dim = fixed.rows.shape
  memory = memory or dynamic_memory.empty_memory(
    num_classes=num_classes,
    num_slots=settings.num_slots,
    dim=dim,
    keep_log=settings.keep_log,
  )
  memory, dynamic = streams.stream(
    memory,
    queries,
    guess.labels,
    guess.entropies,
    ids=ids,
    fixed=fixed,
    projection=projection,
    sharpness=settings.sharpness,
    order=settings.order,
    form=settings.form,
    mesh=mesh,
  )
  return static, dynamic, memory


def branches(
  guess: Guess,
  static: np.ndarray | None,
  dynamic: np.ndarray | None,
  *,
  inverse_temperature: float,
) -> Branches:
  """Probabilities of all parts, from the cosines of the memories."""
  of = lambda part: None if part is None else _scores(part, inverse_temperature)
  return Branches(base=guess.scores, dynamic=of(dynamic), static=of(static))


def static_read(
  queries: Float32[np.ndarray, "N D"],
  fixed: ClassRows,
  *,
  projection: Projection,
  settings: Settings,
  mesh: Mesh,
) -> Float32[np.ndarray, "N C"]:
  """The cosines that text rows and shots alone answer with."""
  shared = (fixed, projection, np.float32(settings.sharpness))
  return map_rows(_static, (queries,), shared, mesh=mesh, block=_BLOCK)


def _static(shared, queries):
  fixed, projection, sharpness = shared
  return reading.read(
    queries,
    fixed.rows,
    fixed.mask[..., None],
    projection=projection,
    sharpness=sharpness,
  )


def _scores(cosines, tau):
  """Probabilities from cosines, on the host, a block at a time."""
  out = np.empty_like(cosines)
  for start in range(0, len(cosines), 4096):
    part = slice(start, start + 4096)
    out[part] = reading.probabilities(cosines[part], inverse_temperature=tau)
  return out
