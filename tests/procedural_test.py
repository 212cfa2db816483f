"""Shader programs: the same pixels anywhere, no recompilation, no bad ones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import visual_memory as vm
from visual_memory import distributed
from visual_memory.procedural import (
  degenerate,
  domain,
  fields,
  noise,
  programs,
  render,
  shapes,
  source,
)

SIZE, BATCH = 32, 8
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def pictures():
  """The first programs of seed 0, all in one batch on one device."""
  ids = np.arange(BATCH, dtype=np.int32)
  return np.asarray(source.sample_images(KEY, ids, size=SIZE, seed=0))


def test_batch_size_devices_and_order_change_nothing(pictures):
  # Eight devices draw one picture each; here in another order, and one twice.
  ids = np.array([5, 1, 2, 7, 0, 0, 6], np.int32)
  apart = source.sample_images(
    KEY, ids, size=SIZE, seed=0, mesh=distributed.make_mesh(8)
  )
  np.testing.assert_array_equal(np.asarray(apart), pictures[ids])


def test_keys_ids_and_seeds_change_the_picture(pictures):
  ids = np.arange(BATCH, dtype=np.int32)
  for key, other_ids, seed in (
    (jax.random.key(4), ids, 0),
    (KEY, ids + BATCH, 0),
    (KEY, ids, 1),
  ):
    other = source.sample_images(key, other_ids, size=SIZE, seed=seed)
    differ = np.any(np.asarray(other) != pictures, axis=(1, 2, 3))
    assert differ.all()


def test_pictures_are_neither_flat_nor_noise(pictures):
  gray = pictures.mean(-1)
  center = gray - gray.mean((1, 2), keepdims=True)
  power = (center**2).mean((1, 2))
  likeness = (center[:, :, 1:] * center[:, :, :-1]).mean((1, 2)) / power
  assert np.median(np.sqrt(power)) > 20
  assert np.median(likeness) > 0.4


def test_ten_thousand_programs_compile_once():
  """A machine of 4 x 4 pixels: its programs are what is counted."""
  compiled = jax.jit(lambda p, v: render.render(p, v, size=4))
  draw = jax.jit(
    lambda keys: (
      jax.vmap(programs.draw)(keys),
      jax.vmap(programs.draw_view)(keys),
    )
  )
  found = set()
  for block in range(10):  # Bounded memory.
    keys = jax.random.split(jax.random.fold_in(KEY, block), 1000)
    some, views = draw(keys)
    images = np.asarray(compiled(some, views))
    assert np.isfinite(images).all()
    assert images.min() >= 0 and images.max() <= 1
    codes = np.concatenate(
      [np.asarray(some.moves), np.asarray(some.fields)], -1
    )
    found |= {row.tobytes() for row in codes.reshape(1000, -1)}
  assert compiled._cache_size() == 1 and draw._cache_size() == 1
  assert len(found) > 9_990


@pytest.mark.parametrize(
  "table", [domain.DOMAIN, fields.FIELDS], ids=["domain", "fields"]
)
def test_every_operator_is_finite_bounded_and_used(table):
  line = jnp.linspace(-30.0, 30.0, 64)
  x, y = jnp.meshgrid(line, line)
  state = domain.State(x, y, jnp.abs(x) / 31, jnp.clip(y, -3, 3))
  zero = state._replace(x=x * 0, y=y * 0)
  constants = (table.low + table.high) / 2
  for name, function, c in zip(
    table.names, table.functions, constants, strict=True
  ):
    for at in (state, zero):
      result = function(at, jnp.asarray(c), jnp.uint32(7))
      assert all(bool(jnp.isfinite(part).all()) for part in result), name
  keys = jax.random.split(KEY, 600)
  drawn = jax.jit(jax.vmap(programs.draw))(keys)
  codes = drawn.moves if table is domain.DOMAIN else drawn.fields
  assert len(np.unique(codes)) == len(table.names)


def test_flat_and_noise_are_found():
  rng = np.random.default_rng(0)
  line = jnp.linspace(0, 1, 32)
  ramp = jnp.broadcast_to(line, (32, 32))
  wave = 0.5 + 0.4 * noise.sine(3 * ramp)
  white = jnp.asarray(rng.random((32, 32)), jnp.float32)
  corner = jnp.zeros((32, 32)).at[:6, :6].set(1.0)
  assert degenerate.is_flat(jnp.full((32, 32), 0.4))
  assert degenerate.is_flat(corner)
  assert not degenerate.is_flat(wave) and not degenerate.is_noise(wave)
  assert degenerate.is_noise(white) and not degenerate.is_flat(white)


def test_degenerate_attempts_are_passed_over():
  """The first attempt is made flat; the second one is taken."""
  keys = jax.random.split(KEY, degenerate.NUM_ATTEMPTS)
  attempts = jax.vmap(programs.draw)(keys)
  flat = dataclasses.replace(
    attempts,
    paint=dataclasses.replace(
      attempts.paint,
      swing=attempts.paint.swing.at[0].set(0.0),
      level=attempts.paint.level.at[0].set(0.5),
      relief=attempts.paint.relief.at[0].set(0.0),
      shadow=attempts.paint.shadow.at[0].set(0.0),
    ),
    active=attempts.active.at[0].set(jnp.array([1, 0, 0, 0])),
    finish=attempts.finish.at[0, 0].set(0.0),
  )
  settle = jax.jit(degenerate._settle)
  program, rejected = settle(flat)
  assert rejected >= 1
  first = np.asarray(attempts.seeds)[int(rejected)]
  np.testing.assert_array_equal(program.seeds, first)
  everything = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), flat)
  assert settle(everything)[1] == degenerate.NUM_ATTEMPTS


def test_waves_angles_and_shapes_against_numpy():
  rng = np.random.default_rng(1)
  x, y = rng.normal(0, 5, (2, 4000)).astype(np.float32)
  np.testing.assert_allclose(
    noise.sine(x), np.sin(2 * np.pi * x.astype(np.float64)), atol=9e-6
  )
  np.testing.assert_allclose(
    noise.angle(x, y), np.arctan2(y, x) / (2 * np.pi), atol=3e-6
  )
  inside = (np.abs(x) < 2) & (np.abs(y) < 1)
  np.testing.assert_array_equal(shapes.box(x, y, 2.0, 1.0, 0.0) < 0, inside)


def test_whole_numbers_become_their_bits():
  rng = np.random.default_rng(2)
  whole = rng.integers(-(2**22), 2**22, 1000)
  whole = np.concatenate([whole, [0, -1, 1, -(2**22), 2**22]])
  bits = np.asarray(noise.whole_bits(whole.astype(np.float32)))
  np.testing.assert_array_equal(bits, whole.astype(np.int32).view(np.uint32))


def test_blocks_of_ids_are_put_together_in_order():
  ids = jnp.arange(37)
  got = jax.jit(
    lambda ids: source.in_blocks(lambda some: jnp.stack([some, some], 1), ids)
  )(ids)
  np.testing.assert_array_equal(got, np.stack([ids, ids], 1))


def test_noise_has_its_moments_and_is_smooth():
  line = jnp.linspace(0, 40, 400)
  x, y = jnp.meshgrid(line, line)
  seed = jnp.uint32(5)
  for function in (noise.value_noise, noise.simplex_noise):
    values = np.asarray(function(x, y, seed))
    assert abs(values.mean()) < 0.06 and 0.12 < values.std() < 0.6
    assert np.abs(values).max() <= 1.3
    assert np.abs(np.diff(values, axis=1)).max() < 0.5
  first, second, value = noise.worley(x, y, seed, jitter=1.0)
  assert bool((first <= second).all()) and float(first.max()) < 1.5
  assert 0.4 < float(value.mean()) < 0.6


def test_a_finer_picture_is_the_same_picture(pictures):
  """Averaged over 2 x 2 pixels it is near the coarser one."""
  ids = np.arange(BATCH, dtype=np.int32)
  fine = source.sample_images(KEY, ids, size=2 * SIZE, seed=0)
  means = np.asarray(fine, np.float32)
  means = means.reshape(BATCH, SIZE, 2, SIZE, 2, 3).mean((2, 4))
  both = np.corrcoef(means.ravel(), pictures.ravel())[0, 1]
  assert both > 0.85


def test_the_data_source(pictures):
  opened = vm.open_source(
    "procedural", num_programs=3, num_views=2, size=SIZE, seed=0
  )
  assert len(opened) == 6 and len(set(opened.ids)) == 6
  assert opened.labels.tolist() == [0, 0, 1, 1, 2, 2]
  example = opened[3]
  assert example.id == "procedural/0/1/1" and example.label == 1
  np.testing.assert_array_equal(opened[3].image, example.image)
  assert (opened[2].image != example.image).any()
  with pytest.raises(ValueError, match="size must be positive"):
    vm.open_source("procedural", num_programs=1, num_views=1, size=0, seed=0)
  with pytest.raises(ValueError, match="'shader'.*shaders.*kml"):
    source.sample_images(KEY, np.arange(2), size=8, seed=0, family="shader")
