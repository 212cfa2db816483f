"""A stream of queries through a dynamic memory: each is kept, then answered.

  memory, cosines = stream(memory, queries, labels, entropies, fixed=rows, ...)

Two forms with equal results. "scan" does what the definition says, one query
after the other. "parallel" knows the lives of all items beforehand and reads
the memory for many queries at once (see stretch_reads).

Reference: Zhang et al., "Dual Memory Networks" (CVPR 2024), section 3.2;
dmn_main.py of the released code, which writes before it reads.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float32, Int32

from visual_memory.checks import as_labels
from visual_memory.dual_memory import dynamic_memory, lifetimes, stretch_reads
from visual_memory.dual_memory.dynamic_memory import DynamicMemory
from visual_memory.dual_memory.reading import Projection, project, unit
from visual_memory.types import Array, Ids

ORDERS = ("write_first", "exclude_self", "read_first")
"""As published, a query is in the memory that it reads; or it is written but
not read by itself; or it is read before it is written."""

FORMS = ("parallel", "scan")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassRows:
  """Rows that a memory has of each class from the beginning: text and shots.

  Attributes:
    rows: unit rows, [C, R, D]; R may be zero.
    mask: which are real, [C, R].
    num_shots: how many of the R are shots, the last ones.
  """

  rows: Float32[Array, "C R D"]
  mask: Bool[Array, "C R"]
  num_shots: int = dataclasses.field(metadata=dict(static=True))


def class_rows(
  *,
  text: Float32[Array, "C D"] | None,
  shots: Float32[Array, "C S D"] | None,
  num_classes: int,
  dim: int,
) -> ClassRows:
  """The text row of each class and its shots; either may be absent."""
  parts = [np.zeros((num_classes, 0, dim), np.float32)]
  if text is not None:
    parts.append(np.asarray(text)[:, None])
  if shots is not None:
    parts.append(np.asarray(shots))
  rows = np.concatenate(parts, axis=1)
  return ClassRows(
    rows=rows,
    mask=np.ones(rows.shape[:2], bool),
    num_shots=0 if shots is None else np.shape(shots)[1],
  )


def stream(
  memory: DynamicMemory,
  queries: Float32[np.ndarray, "n D"],
  labels: Int32[np.ndarray, "n"],
  entropies: Float32[np.ndarray, "n"],
  *,
  ids: Ids | None,
  fixed: ClassRows,
  projection: Projection,
  sharpness: float,
  order: str,
  form: str,
  mesh: Mesh,
) -> tuple[DynamicMemory, Float32[np.ndarray, "n C"]]:
  """The memory after n queries, and what it answered to each of them.

  Args:
    memory: before the first query.
    queries: unit rows, in the order in which they come.
    labels: their pseudo-labels, where they are written.
    entropies: how unsure these are.
    ids: of the queries; needed if the memory keeps a log.
    fixed: rows of each class that are read beside the slots.
    projection: of queries and rows. Slots hold embeddings as they came.
    sharpness: beta of the reading.
    order: one of ORDERS.
    form: one of FORMS; a matter of speed.
    mesh: the devices that share the queries of the parallel form.

  Returns:
    The memory, and cosines as in `reading.read`, a host array.

  Raises:
    ValueError: an unknown order or form, or an item that the memory cannot
      take (see `dynamic_memory.check_items`).
  """
  for name, value, known in (("order", order, ORDERS), ("form", form, FORMS)):
    if value not in known:
      raise ValueError(f"{name} cannot be {value!r}; it can be {known}.")
  labels = as_labels(labels).astype(np.int32)
  entropies = np.asarray(entropies, np.float32)
  dynamic_memory.check_items(memory, queries, labels, entropies, ids)
  if not len(queries):
    return memory, np.zeros((0, len(memory.embeddings)), np.float32)
  read = dict(
    fixed=fixed, projection=projection, sharpness=sharpness, order=order
  )
  if form == "scan":
    book, cosines = _scan(memory, queries, labels, entropies, **read)
  else:
    lives = lifetimes.schedule(labels, entropies, book=memory.book)
    cosines = stretch_reads.read_stream(
      memory, queries, labels, lives, mesh=mesh, **read
    )
    book = lives.book
  memory = dynamic_memory.after(
    memory, queries, labels, entropies=entropies, ids=ids, book=book
  )
  return memory, cosines


def _scan(memory, queries, labels, entropies, **read):
  book = dataclasses.replace(memory.book, time=jnp.int32(memory.book.time))
  book, cosines = _run_scan(
    book, memory.embeddings, queries, labels, entropies, **read
  )
  return jax.tree.map(np.asarray, book), np.asarray(cosines)


@functools.partial(jax.jit, static_argnames=("order",))
def _run_scan(
  book, embeddings, queries, labels, entropies,
  *, fixed, projection, sharpness, order,
):  # fmt: skip
  """One query after the other: write, then read everything of every class."""
  slots = jnp.arange(embeddings.shape[1])

  def step(state, item):
    book, kept = state
    query, label, entropy = item
    new_book, (slot, _) = lifetimes.write(book, label, entropy)
    at = jnp.maximum(slot, 0)
    row = jnp.where(slot >= 0, query, kept[label, at])
    new_kept = kept.at[label, at].set(row)
    seen_kept, seen = (
      (kept, book.counts) if order == "read_first"
      else (new_kept, new_book.counts)
    )  # fmt: skip
    mask = slots[None, :] < seen[:, None]
    if order == "exclude_self":
      mask &= ~(
        (jnp.arange(len(seen)) == label)[:, None] & (slots == slot)[None]
      )
    rows = jnp.concatenate([seen_kept, fixed.rows], axis=1)
    mask = jnp.concatenate([mask, fixed.mask], axis=1)
    cosines = _read_one(query, rows, mask, projection, sharpness)
    return (new_book, new_kept), cosines

  (book, _), cosines = jax.lax.scan(
    step, (book, embeddings), (queries, labels, entropies)
  )
  return book, cosines


def _read_one(query, rows, mask, projection, sharpness):
  """What `reading.read` says for one query, as the definition puts it."""
  keys, values = project(rows, projection)
  asked = projection.queries(query[None])[0]
  like = jnp.einsum("cpd,d->cp", keys, asked, precision="highest")
  weights = jax.nn.softmax(jnp.where(mask, sharpness * like, -jnp.inf), axis=1)
  weights = jnp.where(mask, weights, 0)  # Where nothing is, softmax gave NaN.
  answer = unit(jnp.einsum("cp,cpd->cd", weights, values, precision="highest"))
  offsets = projection.offsets()
  if offsets is not None:
    answer = unit(answer + offsets)
  cosines = jnp.einsum("cd,d->c", answer, query, precision="highest")
  return jnp.where(mask.any(axis=1), cosines, -jnp.inf)
