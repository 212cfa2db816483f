"""Procedural pictures by program id: the source of pretraining.

images = sample_images(key, program_ids, size=64, seed=0)  # uint8 [B, S, S, 3]
images = sample_images(key, program_ids, size=64, seed=0, family="kml",
                       mesh=mesh)  # on all devices of a mesh
"""

import functools
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Int, UInt8

from visual_memory import distributed
from visual_memory.procedural import (
  baselines,
  degenerate,
  leaves,
  mixing,
  programs,
  render,
)
from visual_memory.types import Array

_BLOCK = 16


def sample_images(
  key: jax.Array,
  program_ids: Int[Array, "B"],
  *,
  size: int,
  seed: int,
  family: str = "shaders",
  mesh: Mesh | None = None,
) -> UInt8[Array, "B S S 3"]:
  """A picture of each program, from a random view at a random time.

  A picture is a function of the key, the program's id, the size, the seed and
  the family: other members of the batch, its size and the devices change
  nothing. So the same id twice in one batch gives the same picture twice.
  Families that mix pictures draw the partners' programs from the key. Nothing
  compiles again but for another size, family or number of ids.

  Args:
    key: typed; chooses views, times and partners.
    program_ids: int32 [B], not negative; an id is a class.
    size: S.
    seed: fixes which program an id is.
    family: a key of FAMILIES.
    mesh: renders on all devices of a mesh, and returns rows split over it if
      they divide; on a CPU with a device for each core (JAX_NUM_CPU_DEVICES)
      twice as fast as one device. Without it, the function may be used within
      jit and shard_map.

  Raises:
    ValueError: no such family; it names those there are.
  """
  if family not in FAMILIES:
    raise ValueError(
      f"There is no family of pictures {family!r}; there are:"
      f" {', '.join(FAMILIES)}."
    )
  return _sample(
    key,
    jnp.asarray(program_ids, jnp.int32),
    jnp.uint32(seed),
    size=size,
    family=family,
    mesh=mesh,
  )


@functools.partial(jax.jit, static_argnames=("size", "family", "mesh"))
def _sample(key, program_ids, seed, *, size, family, mesh):
  """Pictures of a family, on one device or on each its share."""

  def draw(key, ids, seed):
    return in_blocks(
      lambda some: quantize(FAMILIES[family](key, some, seed, size)), ids
    )

  if mesh is None:
    return draw(key, program_ids, seed)
  count = len(program_ids)
  padded = distributed.pad_to_multiple(count, mesh.size)
  whole = jnp.pad(program_ids, (0, padded - count), mode="edge")
  return on_mesh(lambda ids: draw(key, ids, seed), mesh)(whole)[:count]


def in_blocks(function: Callable, ids: Int[Array, "B"]) -> Array:
  """The function of all ids; on a CPU of a few at a time.

  So pictures stay in the cache until they are quantized, and memory does not
  grow by float32 pictures.
  """
  count = len(ids)
  if jax.default_backend() != "cpu" or count <= _BLOCK:
    return function(ids)
  padded = distributed.pad_to_multiple(count, _BLOCK)
  blocks = jnp.pad(ids, (0, padded - count), mode="edge").reshape(-1, _BLOCK)
  images = jax.lax.map(function, blocks)
  return images.reshape(padded, *images.shape[2:])[:count]


def on_mesh(function: Callable, mesh: Mesh) -> Callable:
  """The function of B rows, compiled, on every device with its share.

  Rows must divide over the mesh; the function sees each share by itself.
  """
  rows = PartitionSpec(distributed.DATA)
  return jax.jit(
    jax.shard_map(
      function, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False
    )
  )


def quantize(images: Float[Array, "B S S 3"]) -> UInt8[Array, "B S S 3"]:
  """[0, 1] as uint8, rounded to nearest."""
  return jnp.round(images * 255.0).astype(jnp.uint8)


def keys_of(key: jax.Array, ids: Int[Array, "B"], name: str) -> jax.Array:
  """A key for each id: by name, then by id."""
  named = jax.random.fold_in(key, zlib.crc32(name.encode()))
  return jax.vmap(lambda id: jax.random.fold_in(named, id))(ids)


def programs_of(ids: Int[Array, "B"], *, seed) -> tuple:
  """The programs of these ids, and how many attempts each rejected, [B]."""
  root = jax.random.key(seed, impl="threefry2x32")
  return degenerate.settle(keys_of(root, ids, "program"))


def draw_shaders(
  key: jax.Array, ids: Int[Array, "B"], seed, size: int, *, num: int
) -> Float[Array, "n B S S 3"]:
  """Views of each program, and of num - 1 others that key and id choose."""
  partners = jax.vmap(
    lambda k: jax.random.bits(k, (num - 1,), jnp.uint32) >> 1
  )(keys_of(key, ids, "partners"))
  everyone = jnp.concatenate([ids[None], partners.T.astype(jnp.int32)])
  found, _ = programs_of(everyone.reshape(-1), seed=seed)
  view_keys = keys_of(key, ids, "view")
  views = jax.vmap(
    lambda i: jax.vmap(lambda k: programs.draw_view(jax.random.fold_in(k, i)))(
      view_keys
    )
  )(jnp.arange(num))
  views = jax.tree.map(lambda leaf: leaf.reshape(-1), views)
  images = render.render(found, views, size=size)
  return images.reshape(num, len(ids), size, size, 3)


def _shaders(key, ids, seed, size):
  return draw_shaders(key, ids, seed, size, num=1)[0]


def _mixup(key, ids, seed, size):
  return mixing.mixup(*draw_shaders(key, ids, seed, size, num=2))


def _shaders_mixup(key, ids, seed, size):
  num = mixing.NUM_SHADERS_MIXED
  weights = mixing.dirichlet_weights(keys_of(key, ids, "weights"), num=num)
  images = draw_shaders(key, ids, seed, size, num=num)
  return mixing.weighted_mean(images, weights)


def _kml(key, ids, seed, size):
  images = draw_shaders(key, ids, seed, size, num=3)
  # By index: nothing is copied.
  return render.over_programs(
    lambda i: leaves.leaf(*images[:, i]), jnp.arange(len(ids))
  )


def _kml_mixup(key, ids, seed, size):
  images = draw_shaders(key, ids, seed, size, num=6)

  def one(i):
    parts = images[:, i]
    return mixing.mixup(leaves.leaf(*parts[:3]), leaves.leaf(*parts[3:]))

  return render.over_programs(one, jnp.arange(len(ids)))


def _baseline(function):
  """A baseline as a family: key, id and seed make one key."""

  def draw(key, ids, seed, size):
    seeded = jax.random.fold_in(key, seed)
    return function(keys_of(seeded, ids, function.__name__), size=size)

  return draw


FAMILIES = {
  "shaders": _shaders,
  "mixup": _mixup,
  "shaders_mixup": _shaders_mixup,
  "kml": _kml,
  "kml_mixup": _kml_mixup,
  "dead_leaves": _baseline(baselines.dead_leaves),
  "fractal_noise": _baseline(baselines.fractal_noise),
  "iterated_functions": _baseline(baselines.iterated_functions),
}
"""Pictures in [0, 1] from a key, ids, a seed and a size, by name."""
