"""Compiled programs: what they sort, send, hold, on several devices too."""

import functools
import math
import re

import hlo
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from visual_memory import distributed
from visual_memory.encoders.embedding import data_parallel
from visual_memory.encoders.encoder import load_encoder
from visual_memory.memory import coarse, rows, whitening
from visual_memory.probes import linear_probe
from visual_memory.retrieval import certified, tiling

NUM_QUERIES, DIM, K, DEVICES = 256, 64, 10, 8
COLLECTIVES = (
  "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
)


def abstract_rows(num_rows, precision):
  """Rows with shapes and shardings, and no memory behind them."""
  mesh = distributed.make_mesh(DEVICES)

  def array(shape, dtype):
    sharding = (
      distributed.row_sharding(mesh) if shape else distributed.replicated(mesh)
    )
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  copy = None
  if precision != "float32":
    copy = coarse.Coarse(
      values=array((num_rows, DIM), jnp.dtype(precision)),
      scale=array((), jnp.float32),
      residuals=array((num_rows,), jnp.float32),
    )
  return rows.Rows(
    embeddings=array((num_rows, DIM), jnp.float32),
    labels=array((num_rows,), jnp.int32),
    serials=array((num_rows,), jnp.int32),
    coarse=copy,
  )


@functools.cache
def compiled(num_rows, precision="float32", few_bytes=1 << 30):
  """The search of a memory of this size, compiled and never run."""
  mesh = distributed.make_mesh(DEVICES)
  sizes = tiling.plan(
    dim=64,
    num_queries=NUM_QUERIES,
    shard_rows=num_rows // DEVICES,
    k=K,
    precision=precision,
    backend="cpu",
    num_shards=DEVICES,
  )
  return certified.search.lower(
    jax.ShapeDtypeStruct((NUM_QUERIES, DIM), jnp.float32),
    abstract_rows(num_rows, precision),
    jax.ShapeDtypeStruct((NUM_QUERIES,), jnp.int32),
    jax.ShapeDtypeStruct((NUM_QUERIES,), jnp.float32),
    mesh=mesh,
    k=K,
    tiling=sizes,
    few_bytes=few_bytes,
  ).compile()


def results_of(operations, text):
  """The shapes that instructions of these kinds put out, one list for each."""
  pattern = re.compile(rf"= (.*?) (?:{operations})(?:-start)?\(")
  return [
    [
      tuple(int(size) for size in shape.split(",") if size)
      for shape in re.findall(r"\w+\[([\d,]*)\]", match.group(1))
    ]
    for match in map(pattern.search, text.splitlines())
    if match
  ]


def widest_sort(text):
  """The longest axis that is sorted in a program (TopK selects: no sort)."""
  shapes = [shape for out in results_of("sort", text) for shape in out]
  return max(shape[-1] for shape in shapes)


def largest_collective(text):
  """The most values that one exchange of a program brings to a device."""
  return max(
    sum(math.prod(shape) for shape in out)
    for out in results_of(COLLECTIVES, text)
  )


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("few_bytes", [0, 1 << 30])
def test_sorts_and_sends_candidates_alone(precision, few_bytes):
  text = compiled(1 << 24, precision, few_bytes).as_text()
  # Of 2,097,152 rows of a shard: what every device hands to the merge.
  assert widest_sort(text) <= 128
  candidates = 4 * NUM_QUERIES * 128
  share = 1 if few_bytes else DEVICES
  assert 0 < largest_collective(text) <= candidates / share
  assert bool(results_of("all-to-all", text)) == (few_bytes == 0)


def test_these_checks_find_a_search_that_sends_scores():
  mesh = distributed.make_mesh(DEVICES)
  rows = abstract_rows(1 << 14, "float32").embeddings
  queries = jax.ShapeDtypeStruct(
    (NUM_QUERIES, DIM), jnp.float32, sharding=distributed.replicated(mesh)
  )
  naive = jax.jit(
    lambda queries, rows: jnp.argsort(-queries @ rows.T, axis=1)[:, :K],
    out_shardings=distributed.replicated(mesh),
  )
  text = naive.lower(queries, rows).compile().as_text()
  assert widest_sort(text) > 1024
  assert largest_collective(text) > 4 * NUM_QUERIES * K * DEVICES


def test_memory_is_bounded_by_the_tiles():
  def peak(num_rows, precision):
    return compiled(num_rows, precision).memory_analysis().temp_size_in_bytes

  for precision in ("float32", "int8"):
    scores = NUM_QUERIES * (1 << 24) // DEVICES * 4
    assert peak(1 << 24, precision) < scores / 20
    # Twice the rows: a byte more for each, the mask.
    growth = peak(1 << 25, precision) - peak(1 << 24, precision)
    assert growth <= 1.01 * (1 << 24) // DEVICES


ROWS, SHARDED_DIM = 2048, 32


def sharded(mesh, *shape, dtype=jnp.float32, spec=None):
  sharding = distributed.row_sharding(mesh) if spec is None else spec
  return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def embedding(mesh):
  encoder = load_encoder("procedural_patches")
  everywhere = distributed.replicated(mesh)
  params = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
    encoder.params,
  )
  size = encoder.preprocess.crop
  return data_parallel._sharded_unit_rows.lower(
    encoder.apply, mesh, params, sharded(mesh, 16, size, size, 3)
  )


def moments(mesh):
  with jax.enable_x64(True):
    return whitening._moments.lower(sharded(mesh, ROWS, SHARDED_DIM), mesh=mesh)


def whitened(mesh):
  mean, factor = (
    np.zeros(SHARDED_DIM, np.float32),
    np.eye(SHARDED_DIM, dtype=np.float32),
  )
  return whitening._apply.lower(
    sharded(mesh, ROWS, SHARDED_DIM), mean, factor, mesh=mesh
  )


def probes(mesh):
  everywhere = distributed.replicated(mesh)
  optimizer = optax.chain(optax.trace(0.9), optax.scale_by_learning_rate(0.1))
  params = {"weights": np.zeros((3, SHARDED_DIM, 5)), "bias": np.zeros((3, 5))}
  params = jax.tree.map(np.float32, params)
  described = functools.partial(
    jax.tree.map, lambda x: sharded(mesh, *x.shape, spec=everywhere)
  )
  batches = jax.sharding.NamedSharding(
    mesh, jax.sharding.PartitionSpec(None, distributed.DATA)
  )
  return jax.jit(
    functools.partial(
      linear_probe._run,
      optimizer=optimizer,
      masks=np.ones((3, SHARDED_DIM), np.float32),
      rates=np.ones(3, np.float32),
    )
  ).lower(
    described(params),
    described(optimizer.init(params)),
    sharded(mesh, 4, ROWS, SHARDED_DIM, spec=batches),
    sharded(mesh, 4, ROWS, dtype=jnp.int32, spec=batches),
  )


@pytest.mark.parametrize(
  ("lowered", "sends"),
  [
    (embedding, set()),
    (moments, {"all-reduce"}),
    (whitened, set()),
    (probes, {"all-reduce"}),
  ],
)
def test_devices_share_the_work_and_send_sums_at_most(lowered, sends):
  whole, alone = hlo.flops_and_sent(lowered(distributed.make_mesh(1)))
  assert not alone or {kind for kind, _ in alone} <= sends
  for devices in (2, 8):
    flops, sent = hlo.flops_and_sent(lowered(distributed.make_mesh(devices)))
    assert {kind for kind, _ in sent} == sends
    # A loop over blocks of rows counts as one block, however many there are.
    if lowered not in (moments, whitened):
      assert flops < 1.2 / devices * whole
