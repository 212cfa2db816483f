"""Programs over several devices share their work, and send sums at most."""

import functools

import hlo
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from visual_memory import distributed
from visual_memory.encoders.embedding import data_parallel
from visual_memory.encoders.encoder import load_encoder
from visual_memory.memory import whitening
from visual_memory.probes import linear_probe

ROWS, DIM = 2048, 32


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
    return whitening._moments.lower(sharded(mesh, ROWS, DIM), mesh=mesh)


def whitened(mesh):
  mean, factor = np.zeros(DIM, np.float32), np.eye(DIM, dtype=np.float32)
  return whitening._apply.lower(
    sharded(mesh, ROWS, DIM), mean, factor, mesh=mesh
  )


def probes(mesh):
  everywhere = distributed.replicated(mesh)
  optimizer = optax.chain(optax.trace(0.9), optax.scale_by_learning_rate(0.1))
  params = {"weights": np.zeros((3, DIM, 5)), "bias": np.zeros((3, 5))}
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
      masks=np.ones((3, DIM), np.float32),
      rates=np.ones(3, np.float32),
    )
  ).lower(
    described(params),
    described(optimizer.init(params)),
    sharded(mesh, 4, ROWS, DIM, spec=batches),
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
