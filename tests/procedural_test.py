"""Shader programs: the same pixels anywhere, no recompilation, no bad ones."""

import functools

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
  machine,
  noise,
  programs,
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


def test_fine_detail_is_averaged_not_aliased():
  """Little energy lies above a quarter cycle a pixel."""
  ids = np.arange(32, dtype=np.int32)
  images = np.asarray(source.sample_images(KEY, ids, size=64, seed=0))
  gray = images.mean(-1) - images.mean((1, 2, 3))[:, None, None]
  window = np.hanning(64)
  power = np.abs(np.fft.fft2(gray * window[:, None] * window[None])) ** 2
  cycles = np.fft.fftfreq(64)
  fine = np.hypot(cycles[:, None], cycles[None]) > 0.25
  shares = power[:, fine].sum(1) / power.sum((1, 2))
  assert np.median(shares) < 0.1 and shares.mean() < 0.15


def test_pictures_are_neither_flat_nor_noise(pictures):
  gray = pictures.mean(-1)
  center = gray - gray.mean((1, 2), keepdims=True)
  power = (center**2).mean((1, 2))
  likeness = (center[:, :, 1:] * center[:, :, :-1]).mean((1, 2)) / power
  assert np.median(np.sqrt(power)) > 20
  assert np.median(likeness) > 0.4


def test_one_machine_draws_every_size_and_family(pictures):
  mesh = distributed.make_mesh(1)
  compiled = machine._machine(mesh, machine._width())
  for size, family, count in (
    (5, "shaders", 3),
    (17, "shaders", 1),
    (16, "mixup", 2),
  ):
    ids = np.arange(count, dtype=np.int32)
    images = source.sample_images(KEY, ids, size=size, seed=0, family=family)
    assert images.shape == (count, size, size, 3)
  assert compiled._cache_size() == 1


def test_ten_thousand_programs_are_different():
  draw = jax.jit(jax.vmap(programs.draw))
  words = source.program_words(np.arange(10_000), seed=0)
  some = draw(words)
  codes = np.concatenate([np.asarray(some.moves), np.asarray(some.fields)], -1)
  assert len({row.tobytes() for row in codes.reshape(10_000, -1)}) > 9_990
  assert len({row.tobytes() for row in np.asarray(some.seeds)}) == 10_000


def test_numbers_of_words_are_uniform_and_unrelated():
  words = source.program_words(np.arange(500), seed=1)
  numbers = np.asarray(jax.vmap(lambda w: noise.uniform(w, 64))(words))
  assert 0 <= numbers.min() and numbers.max() < 1
  # Each number over the programs, and each program's, like independent ones.
  assert np.abs(numbers.mean(0) - 0.5).max() < 5 / np.sqrt(12 * 500)
  assert np.abs(numbers.mean(1) - 0.5).max() < 5 / np.sqrt(12 * 64)
  likeness = np.corrcoef(numbers.T)[np.triu_indices(64, 1)]
  assert np.abs(likeness).max() < 6 / np.sqrt(500)


def test_another_key_is_another_view_of_the_same_programs():
  mesh, ids = distributed.make_mesh(1), jnp.arange(4)
  words = [
    source._items(
      jax.random.key_data(jax.random.split(jax.random.key(n), 4)), ids,
      np.uint32(0), num=3, mesh=mesh,
    )
    for n in (0, 1)
  ]  # fmt: skip
  np.testing.assert_array_equal(words[0][0], words[1][0])
  assert (np.asarray(words[0][1]) != np.asarray(words[1][1])).any(-1).all()
  np.testing.assert_array_equal(
    words[0][0][:, 0], source.program_words(np.arange(4), seed=0)
  )


@pytest.mark.parametrize(
  "table", [domain.DOMAIN, fields.FIELDS], ids=["domain", "fields"]
)
def test_every_operator_is_finite_bounded_and_used(table):
  line = jnp.linspace(-30.0, 30.0, 64)
  x, y = jnp.meshgrid(line, line)
  state = domain.State(x, y, jnp.abs(x) / 31, jnp.clip(y, -3, 3))
  zero = state._replace(x=x * 0, y=y * 0)
  constants = (table.low + table.high) / 2
  for name, branch, c in zip(table.names, table.branch, constants, strict=True):
    for at in (state, zero):
      result = table.functions[branch](at, jnp.asarray(c), jnp.uint32(7))
      assert all(np.isfinite(part).all() for part in result), name
  words = source.program_words(np.arange(600), seed=0)
  drawn = jax.jit(jax.vmap(programs.draw))(words)
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
  words = source.program_words(np.arange(32), seed=0)
  state = jax.device_get(machine.settle(words))
  assert state.done.all() and 0 < (state.rejected > 0).sum() < 32
  last = machine.NUM_ATTEMPTS - 1
  np.testing.assert_array_equal(state.attempt, np.minimum(state.rejected, last))
  # Heights are standardized: each drawn layer has a scale of its own.
  assert (state.scale > 0).all() and len(np.unique(state.scale)) > 32


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


def test_noise_has_its_moments_and_is_smooth():
  line = np.linspace(0, 40, 400, dtype=np.float32)
  x, y = np.meshgrid(line, line)
  seed = np.uint32(5)
  for function in (noise.value_noise, noise.simplex_noise):
    values = np.asarray(jax.jit(function)(x, y, seed))
    assert abs(values.mean()) < 0.06 and 0.12 < values.std() < 0.6
    assert np.abs(values).max() <= 1.3
    assert np.abs(np.diff(values, axis=1)).max() < 0.5
  worley = jax.jit(functools.partial(noise.worley, jitter=1.0))
  first, second, value = map(np.asarray, worley(x, y, seed))
  assert (first <= second).all() and first.max() < 1.5
  assert 0.4 < value.mean() < 0.6


def test_a_finer_picture_is_the_same_picture(pictures):
  """Averaged over 2 x 2 pixels it is near the coarser one."""
  ids = np.arange(BATCH, dtype=np.int32)
  fine = source.sample_images(KEY, ids, size=2 * SIZE, seed=0)
  means = np.asarray(fine, np.float32)
  means = means.reshape(BATCH, SIZE, 2, SIZE, 2, 3).mean((2, 4))
  both = np.corrcoef(means.ravel(), pictures.ravel())[0, 1]
  assert both > 0.9


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
