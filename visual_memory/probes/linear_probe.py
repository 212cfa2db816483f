"""Linear probes: a whole grid of them, trained at once by SGD.

  grid = train_probes(rows, labels, inputs, learning_rates=(1e-3, 1e-2),
                      num_classes=10, num_steps=12_500, batch_size=128, seed=0,
                      mesh=mesh)
  predictions = grid.predict(queries)                      # int32 [P, Q]

Every probe sees the same batches; one differs from another by its learning
rate and by the columns that it reads. So all of them are one program over
[P, D, C] weights: for DINOv2's grid, 13 learning rates times 4 inputs, 52
probes for the price of reading the data once.

Reference: Oquab et al., "DINOv2", 2023, and its `dinov2/eval/linear.py`: SGD
with momentum 0.9, no weight decay, learning rates (times batch / 256) that
decay as a cosine to zero. There every step sees new random crops, and features
have their own length; here the rows are embedded once, and scaled to length
sqrt(D), about that of a token after LayerNorm.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Bool, Float, Int, Int32

from visual_memory.distributed import DATA
from visual_memory.probes import logistic_regression
from visual_memory.types import Array

_MOMENTUM = 0.9
_STEPS = 64
"""Batches that are on the devices at once."""

_QUERIES = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
  """What sets one probe apart: its input's name and its learning rate."""

  inputs: str
  learning_rate: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeGrid:
  """P trained probes; host arrays.

  Attributes:
    probes: what sets each apart.
    weights: zero in columns that a probe does not read, [P, D, C].
    bias: [P, C].
  """

  probes: tuple[Probe, ...]
  weights: Float[np.ndarray, "P D C"]
  bias: Float[np.ndarray, "P C"]

  def predict(self, queries: Float[Array, "Q D"]) -> Int32[np.ndarray, "P Q"]:
    """The class that each probe gives each query."""
    out = np.empty((len(self.probes), len(queries)), np.int32)
    weights, bias = jnp.asarray(self.weights), jnp.asarray(self.bias)
    for start in range(0, len(queries), _QUERIES):
      rows = np.asarray(queries[start : start + _QUERIES], np.float32)
      padded = np.pad(rows, ((0, _QUERIES - len(rows)), (0, 0)))
      chosen = _choose(weights, bias, padded)
      out[:, start : start + len(rows)] = np.asarray(chosen)[:, : len(rows)]
    return out


def train_probes(
  rows: Float[np.ndarray, "N D"],
  labels: Int[np.ndarray, "N"],
  inputs: Mapping[str, Bool[np.ndarray, "D"]],
  *,
  learning_rates: Sequence[float],
  num_classes: int,
  num_steps: int,
  batch_size: int,
  seed: int,
  mesh: Mesh,
) -> ProbeGrid:
  """One probe for each input and learning rate, from random weights.

  Args:
    rows: unit rows, on the host.
    labels: their classes, all known, [N].
    inputs: the columns that a kind of probe reads, by name.
    learning_rates: for a batch of 256; scaled by batch_size / 256.
    num_classes: C.
    num_steps: of SGD.
    batch_size: a multiple of the mesh's size, at most N.
    seed: of weights and batches.
    mesh: the devices that share each batch.

  Raises:
    ValueError: unlabeled rows, or a batch size out of range.
  """
  _check(rows, labels, num_classes, batch_size, mesh)
  probes = tuple(
    Probe(inputs=name, learning_rate=float(rate))
    for name in inputs
    for rate in learning_rates
  )
  masks = np.stack([np.asarray(inputs[probe.inputs]) for probe in probes])
  rates = np.array([probe.learning_rate for probe in probes], np.float32)
  key = jax.random.key(seed)
  everywhere = NamedSharding(mesh, P())
  weights = _initial(key, masks, num_classes)
  bias = np.zeros(weights.shape[::2], np.float32)
  params = {"weights": weights, "bias": bias}
  params = jax.device_put(params, everywhere)
  schedule = optax.cosine_decay_schedule(1.0, num_steps)
  optimizer = optax.chain(
    optax.trace(_MOMENTUM), optax.scale_by_learning_rate(schedule)
  )
  state = jax.device_put(optimizer.init(params), everywhere)
  run = functools.partial(
    jax.jit(
      functools.partial(_run, optimizer=optimizer), donate_argnums=(0, 1)
    ),
    masks=jnp.asarray(masks, jnp.float32),
    rates=jnp.asarray(rates * batch_size / 256),
  )
  split = NamedSharding(mesh, P(None, DATA))
  for batches in _batches(len(rows), batch_size, num_steps, key):
    # Beyond num_steps the schedule is zero: the last call may go on.
    arrays = (rows[batches].astype(np.float32), labels[batches])
    params, state = run(params, state, *jax.device_put(arrays, split))
  return ProbeGrid(
    probes=probes,
    weights=np.asarray(params["weights"]),
    bias=np.asarray(params["bias"]),
  )


def _run(params, state, rows, labels, *, masks, rates, optimizer):
  """Several steps, one for each batch of rows [steps, B, D]."""

  def step(carry, batch):
    params, state = carry
    grads = jax.grad(_loss)(params, *batch)
    grads["weights"] *= masks[:, :, None]
    updates, state = optimizer.update(grads, state)
    updates["weights"] *= rates[:, None, None]
    updates["bias"] *= rates[:, None]
    return (optax.apply_updates(params, updates), state), None

  return jax.lax.scan(step, (params, state), (rows, labels))[0]


def _loss(params, rows, labels):
  """The probes' mean cross-entropies, summed: gradients are apart."""
  logits = _logits(params["weights"], params["bias"], rows)
  each = optax.softmax_cross_entropy_with_integer_labels(
    logits, jnp.broadcast_to(labels[None], logits.shape[:2])
  )
  return each.mean(axis=1).sum()


def _logits(weights, bias, rows):
  """Class scores [P, B, C] of unit rows."""
  rows = rows * np.sqrt(rows.shape[1]).astype(np.float32)
  products = jnp.einsum(
    "bd,pdc->pbc", rows, weights, precision=jax.lax.Precision.HIGHEST
  )
  return products + bias[:, None, :]


@jax.jit
def _choose(weights, bias, rows):
  """The best class of each row by each probe, [P, B]."""
  return jnp.argmax(_logits(weights, bias, rows), axis=-1).astype(jnp.int32)


def _initial(key, masks, num_classes):
  """Normal weights of deviation 0.01, the same for every probe, [P, D, C]."""
  key = jax.random.fold_in(key, 0)
  shape = (masks.shape[1], num_classes)
  weights = 0.01 * np.asarray(jax.random.normal(key, shape, jnp.float32))
  return weights[None] * masks[:, :, None].astype(np.float32)


def _batches(num_rows, batch_size, num_steps, key):
  """Row positions [_STEPS, B] of the batches: each epoch in its own order."""
  per_epoch, epoch, queue = num_rows // batch_size, 0, []
  for _ in range(-(-num_steps // _STEPS)):
    while sum(map(len, queue)) < _STEPS:
      epoch += 1
      order = np.asarray(
        jax.random.permutation(jax.random.fold_in(key, epoch), num_rows)
      )
      queue.append(
        order[: per_epoch * batch_size].reshape(per_epoch, batch_size)
      )
    ready = np.concatenate(queue)
    queue = [ready[_STEPS:]]
    yield ready[:_STEPS]


def _check(rows, labels, num_classes, batch_size, mesh):
  """Raises ValueError for what cannot be trained on."""
  logistic_regression.check_labels(
    labels, num_rows=len(rows), num_classes=num_classes
  )
  if not 1 <= batch_size <= len(rows) or batch_size % mesh.size:
    raise ValueError(
      f"batch_size = {batch_size}: take a multiple of the {mesh.size} devices,"
      f" at most the {len(rows)} rows."
    )
