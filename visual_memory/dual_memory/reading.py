"""Reading a memory: each class answers with a mix of its rows like the query.

  cosines = read(queries, rows, mask, projection=NoProjection(), sharpness=5.5)
  scores = probabilities(cosines, inverse_temperature=100.0)      # [B, C]

For a query f and the rows m of a class c, with q, K, V, d from the projection:

  w_m = softmax_m(beta q.K_m)      a = norm(norm(sum_m w_m V_m) + d_c)
  cosine_c = a . f

The published weights exp(-beta (1 - q.K)) differ from w by a factor, and the
normalization takes it out. The sum over rows, C x D numbers per query, is never
made: its dot product with f is sum w (V.f), and its squared length w' V V' w.
Where the vectors of a class cancel almost wholly the length loses digits; rows
of one class of any trained encoder do not.

Reference: Zhang et al., "Dual Memory Networks" (CVPR 2024), equations 4 to 7;
fix_clip.py and dmn_main.py of the released code.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32

from visual_memory.dual_memory.projections import Projection
from visual_memory.types import Array

_TINY = 1e-30


def read(
  queries: Float[Array, "B D"],
  rows: Float[Array, "C P D"],
  mask: Bool[Array, "C P #B"],
  *,
  projection: Projection,
  sharpness: float | Array,
) -> Float32[Array, "B C"]:
  """The cosine between each query and what each class answers.

  Args:
    queries: unit rows.
    rows: the memory: P unit rows of each class.
    mask: which rows each query sees; the last axis may be 1.
    projection: of queries and rows.
    sharpness: beta, how much likeness counts, at least 0.

  Returns:
    Cosines in [-1, 1]; -inf for a class of which a query sees no row.
  """
  keys, values = project(rows, projection)
  asked = projection.queries(queries)
  like = dots(keys, asked)  # [C, P, B]
  onto = like if values is keys and asked is queries else dots(values, queries)
  like = jnp.where(mask, sharpness * like, -jnp.inf)
  top = jax.lax.stop_gradient(jnp.max(like, axis=1, keepdims=True))
  seen = top > -jnp.inf
  weights = jnp.exp(like - jnp.where(seen, top, 0))
  gram = jnp.einsum("cpd,cqd->cpq", values, values, precision="highest")
  mixed = jnp.einsum("cpq,cqb->cpb", gram, weights, precision="highest")
  offsets, along = projection.offsets(), None
  if offsets is not None:
    shares = jnp.einsum("cpd,cd->cp", values, offsets, precision="highest")
    along = jnp.sum(weights * shares[..., None], axis=1)
  cosines = finish(
    jnp.sum(weights * onto, axis=1),
    jnp.sum(weights * mixed, axis=1),
    along,
    queries,
    offsets,
  )
  return jnp.where(seen[:, 0], cosines, -jnp.inf).T


def project(
  rows: Float[Array, "C P D"], projection: Projection
) -> tuple[Float[Array, "C P D"], Float[Array, "C P D"]]:
  """Keys and values of rows whose first axis is the class."""
  return projection.rows(rows, jnp.arange(rows.shape[0])[:, None])


def dots(
  rows: Float[Array, "C P D"], queries: Float[Array, "B D"]
) -> Float[Array, "C P B"]:
  """Every row's dot product with every query: one matrix product."""
  flat = rows.reshape(-1, rows.shape[-1])
  out = jnp.matmul(flat, queries.T, precision="highest")
  return out.reshape(*rows.shape[:2], queries.shape[0])


def finish(
  onto: Float[Array, "C B"],
  squares: Float[Array, "C B"],
  along: Float[Array, "C B"] | None,
  queries: Float[Array, "B D"],
  offsets: Float[Array, "C D"] | None,
) -> Float[Array, "C B"]:
  """The cosine from the products of the weighted sum s = sum w V.

  Args:
    onto: s . f.
    squares: s . s.
    along: s . d; None without offsets.
    queries: f, unit rows.
    offsets: d, what is added to norm(s); None for nothing.
  """
  scale = jax.lax.rsqrt(jnp.maximum(squares, _TINY))
  onto = onto * scale
  if offsets is None:
    return onto
  onto = onto + jnp.matmul(offsets, queries.T, precision="highest")
  own = jnp.sum(offsets * offsets, axis=1, keepdims=True)
  squares = 1 + 2 * along * scale + own
  return onto * jax.lax.rsqrt(jnp.maximum(squares, _TINY))


def probabilities(
  cosines: Float[Array, "*batch C"], *, inverse_temperature: float | Array
) -> Float32[Array, "*batch C"]:
  """softmax(tau cosine) over classes; uniform where no class has a row."""
  logits = inverse_temperature * cosines
  top = jnp.max(logits, axis=-1, keepdims=True)
  nothing = top == -jnp.inf
  logits = jnp.where(nothing, 0, logits - jnp.where(nothing, 0, top))
  scores = jnp.exp(logits)
  return scores / jnp.sum(scores, axis=-1, keepdims=True)
