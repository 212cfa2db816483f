"""Procedural pictures by program id: the source of pretraining.

images = sample_images(key, program_ids, size=64, seed=0)  # uint8 [B, S, S, 3]
images = sample_images(key, program_ids, size=64, seed=0, family="kml",
                       mesh=mesh)  # on all devices of a mesh
"""

import functools
import zlib

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, UInt8

from visual_memory import distributed
from visual_memory.procedural import (
  baselines,
  degenerate,
  leaves,
  mixing,
  programs,
  render,
)


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
      they divide. Without it, the function may be used within jit and
      shard_map.

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
    return quantize(FAMILIES[family](key, ids, seed, size))

  if mesh is None:
    return draw(key, program_ids, seed)
  count = len(program_ids)
  padded = distributed.pad_to_multiple(count, mesh.size)
  rows = PartitionSpec(distributed.DATA)
  share = jax.shard_map(
    draw,
    mesh=mesh,
    in_specs=(PartitionSpec(), rows, PartitionSpec()),
    out_specs=rows,
    check_vma=False,
  )
  whole = jnp.pad(program_ids, (0, padded - count), mode="edge")
  return share(key, whole, seed)[:count]


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


def shaders(key, ids, seed, size: int) -> Float[Array, "B S S 3"]:
  """A view of each program, in [0, 1]."""
  found, _ = programs_of(ids, seed=seed)
  views = jax.vmap(programs.draw_view)(keys_of(key, ids, "view"))
  return render.render(found, views, size=size)


def _partners(draw, key, ids, seed, size: int, *, name: str):
  """Pictures of programs that each key and id choose, as `draw` draws them."""
  keys = keys_of(key, ids, name)
  others = jax.vmap(lambda k: jax.random.bits(k, (), jnp.uint32))(keys)
  others = (others >> 1).astype(jnp.int32)
  return draw(
    jax.random.fold_in(key, zlib.crc32(name.encode())), others, seed, size
  )


def _mixup(key, ids, seed, size):
  first = shaders(key, ids, seed, size)
  return mixing.mixup(
    first, _partners(shaders, key, ids, seed, size, name="mixup")
  )


def _shaders_mixup(key, ids, seed, size):
  groups = [shaders(key, ids, seed, size)]
  for i in range(1, mixing.NUM_SHADERS_MIXED):
    groups.append(_partners(shaders, key, ids, seed, size, name=f"mixed_{i}"))
  weights = mixing.dirichlet_weights(
    keys_of(key, ids, "weights"), num=mixing.NUM_SHADERS_MIXED
  )
  return mixing.weighted_mean(jnp.stack(groups, 1), weights)


def _kml(key, ids, seed, size):
  textures = [
    _partners(shaders, key, ids, seed, size, name=name)
    for name in ("first_texture", "second_texture")
  ]
  return leaves.kmeans_leaves(shaders(key, ids, seed, size), *textures)


def _kml_mixup(key, ids, seed, size):
  first = _kml(key, ids, seed, size)
  return mixing.mixup(
    first, _partners(_kml, key, ids, seed, size, name="mixup")
  )


def _baseline(function):
  """A baseline as a family: key, id and seed make one key."""

  def draw(key, ids, seed, size):
    seeded = jax.random.fold_in(key, seed)
    return function(keys_of(seeded, ids, function.__name__), size=size)

  return draw


FAMILIES = {
  "shaders": shaders,
  "mixup": _mixup,
  "shaders_mixup": _shaders_mixup,
  "kml": _kml,
  "kml_mixup": _kml_mixup,
  "dead_leaves": _baseline(baselines.dead_leaves),
  "fractal_noise": _baseline(baselines.fractal_noise),
  "iterated_functions": _baseline(baselines.iterated_functions),
}
