"""The compiled training step: what each device computes, and what it sends."""

import functools

import hlo
import jax
import jax.numpy as jnp
import pretraining_process
import pytest

from visual_memory import distributed
from visual_memory.pretraining import step

BATCH = 64


@functools.cache
def compiled(objective, devices, micro_batches, remat):
  """(FLOPs of a device, [(collective, its values)]) of a step, never run."""
  recipe, _ = pretraining_process.make(
    objective=objective, batch_size=BATCH, micro_batches=micro_batches,
    remat=remat,
  )  # fmt: skip
  mesh = distributed.make_mesh(devices)
  everywhere = distributed.replicated(mesh)
  state = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
    jax.eval_shape(lambda: step.init_state(recipe, mesh)),
  )
  count = step.num_rows(recipe, mesh)

  def rows(*shape, dtype):
    return jax.ShapeDtypeStruct(
      (count, *shape), dtype, sharding=distributed.row_sharding(mesh)
    )

  return hlo.flops_and_sent(
    step.make_step(recipe, mesh).lower(
      state, rows(16, 16, 3, dtype=jnp.uint8), rows(dtype=jnp.int32),
      rows(dtype=jnp.float32),
    )
  )  # fmt: skip


CASES = [("dino", 2, True), ("contrastive", 1, False)]
MORE = [
  ("dino", 1, False),
  ("dino", 1, True),
  ("dino", 2, False),
  ("contrastive", 2, True),
  ("contrastive", 2, False),
  ("contrastive", 1, True),
]
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
  ("objective", "parts", "remat"),
  [*CASES, *(pytest.param(*case, marks=SLOW) for case in MORE)],
)
@pytest.mark.parametrize(
  "devices", [pytest.param(2, marks=SLOW), pytest.param(4, marks=SLOW), 8]
)
def test_devices_share_the_work_and_exchange_sums(
  objective, parts, remat, devices
):
  whole, _ = compiled(objective, 1, parts, remat)
  flops, sent = compiled(objective, devices, parts, remat)
  assert flops < 1.2 / devices * whole
  kinds = {kind for kind, _ in sent}
  if objective == "dino":
    assert kinds == {"all-reduce"}
    return
  # Every device needs all images' projections and labels as negatives: of two
  # global and one local view, 16 values each.
  assert kinds == {"all-reduce", "all-gather"}
  images = BATCH // parts
  for kind, shapes in sent:
    for shape in shapes if kind == "all-gather" else ():
      sizes = [int(size) for size in shape.split(",")]
      assert sorted(sizes) in ([3 * images], [16, 3 * images], [images])


def test_these_checks_find_views_that_lead():
  """As it was: views before images, so that everybody computes everything."""
  mesh = distributed.make_mesh(8)

  def naive(images, kernel):
    rows = images.swapaxes(0, 1).reshape(-1, images.shape[-1])
    return jnp.sum(jnp.tanh(rows @ kernel) @ kernel.T)

  arguments = (
    jax.ShapeDtypeStruct(
      (64, 3, 32), jnp.float32, sharding=distributed.row_sharding(mesh)
    ),
    jax.ShapeDtypeStruct(
      (32, 32), jnp.float32, sharding=distributed.replicated(mesh)
    ),
  )
  _, sent = hlo.flops_and_sent(jax.jit(naive).lower(*arguments))
  assert {"all-gather", "all-to-all"} & {kind for kind, _ in sent}
