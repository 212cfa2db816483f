"""Procedural pictures by program id: the source of pretraining.

images = sample_images(key, program_ids, size=64, seed=0)  # uint8 [B, S, S, 3]
images = sample_images(key, program_ids, size=64, seed=0, family="kml",
                       mesh=mesh)  # on all devices of a mesh
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Int, Key, UInt8, UInt32

from visual_memory import distributed
from visual_memory.procedural import (
  baselines,
  leaves,
  machine,
  mixing,
  noise,
)
from visual_memory.types import Array

_ROWS = PartitionSpec(distributed.DATA)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
  """A family made of shaders.

  Attributes:
    num: shaders in a picture.
    mix: (float pictures [num, S, S, 3], a key) -> one picture [S, S, 3].
  """

  num: int
  mix: Callable[[Array, jax.Array], Array]


def sample_images(
  key: Key[jax.Array, "..."],
  program_ids: Int[Array, "B"],
  *,
  size: int,
  seed: int,
  family: str = "shaders",
  mesh: Mesh | None = None,
) -> UInt8[Array, "B S S 3"]:
  """A picture of each program, from a random view at a random time.

  A picture is a function of its key, the program's id, the size, the seed and
  the family: other members of the batch, its size and the devices change
  nothing. Families that mix pictures draw the partners' programs from the id
  and the seed, so that two keys give two views of the same things. Nothing
  compiles again for other programs or another number of ids, and the machine
  that draws does not for another size either.

  Args:
    key: typed, one for all or one for each id; chooses views and times.
    program_ids: int32 [B], not negative; an id is a class.
    size: S.
    seed: fixes which program an id is.
    family: a key of FAMILIES.
    mesh: renders on all devices of a mesh, and returns rows split over it if
      they divide; on a CPU with a device for each core (JAX_NUM_CPU_DEVICES)
      twice as fast as one device. One device by default.

  Raises:
    ValueError: no such family; it names those there are.
  """
  check_family(family)
  mesh = distributed.make_mesh(1) if mesh is None else mesh
  count = len(program_ids)
  padded = distributed.pad_to_multiple(count, mesh.size)
  keys, ids = _rows(key, program_ids, padded, mesh)
  made = FAMILIES[family]
  if isinstance(made, Mixture):
    images = draw_shaders(
      keys, ids, seed=seed, size=size, num=made.num, mesh=mesh
    )
    chosen = None
    if made.num > 1:
      chosen = keys_of(jax.random.key(seed), ids, "weights")
    images = mixed(images, chosen, family, mesh=mesh)
  else:
    images = _baseline(keys, ids, seed, family=family, size=size, mesh=mesh)
  return images if padded == count else images[:count]


def check_family(family: str) -> None:
  """Raises ValueError unless there is this family."""
  if family not in FAMILIES:
    raise ValueError(
      f"There is no family of pictures {family!r}; there are:"
      f" {', '.join(FAMILIES)}."
    )


def _rows(key, program_ids, padded: int, mesh: Mesh) -> tuple:
  """A key and an id for each of `padded` rows, split over the mesh."""
  rows = distributed.row_sharding(mesh)
  if key.ndim and len(key) == padded and isinstance(program_ids, jax.Array):
    return jax.device_put((key, program_ids.astype(jnp.int32)), rows)
  which = np.minimum(np.arange(padded), len(program_ids) - 1)
  ids = np.asarray(program_ids, np.int32)[which]
  keys = key[which] if key.ndim else jnp.broadcast_to(key, (padded,))
  return jax.device_put(keys, rows), distributed.shard_rows(ids, mesh)


def draw_shaders(
  keys: Key[jax.Array, "B"],
  ids: Int[Array, "B"],
  *,
  seed: int,
  size: int,
  num: int,
  mesh: Mesh,
) -> UInt8[Array, "B n S S 3"]:
  """Views of each program, and of num - 1 others that its id chooses."""
  program_words, view_words = _items(
    jax.random.key_data(keys), ids, np.uint32(seed), num=num, mesh=mesh
  )
  return machine.draw(program_words, view_words, size=size, mesh=mesh)


@functools.partial(jax.jit, static_argnames=("num", "mesh"))
def _items(keys, ids, seed, *, num: int, mesh: Mesh) -> tuple:
  """For each id the words of `num` programs and of views of them, [B, n, 2]."""

  def one(key, id):
    partners = noise.random_bits(
      noise.derived(_root(seed, "partners"), id), num - 1
    )
    everyone = jnp.concatenate([id[None].astype(jnp.uint32), partners >> 1])
    root = _root(seed, "program")
    view = noise.derived(noise.derived(key, _number("view")), id)
    return (
      jax.vmap(lambda p: noise.derived(root, p))(everyone),
      jax.vmap(lambda i: noise.derived(view, i))(jnp.arange(num)),
    )

  # A generator of another width would be cut to what all have.
  found = jax.vmap(one)(keys[:, :2], ids)
  return jax.lax.with_sharding_constraint(found, distributed.row_sharding(mesh))


def program_words(ids: Int[Array, "B"], *, seed: int) -> UInt32[Array, "B 2"]:
  """What fixes the programs of these ids; see `machine.settle`."""
  root = _root(np.uint32(seed), "program")
  return jax.vmap(lambda id: noise.derived(root, id))(jnp.asarray(ids))


def _root(seed, name: str) -> Array:
  """The words of a seed for one use."""
  return noise.derived(jnp.stack([seed, seed]), _number(name))


def _number(name: str) -> int:
  return zlib.crc32(name.encode())


@functools.partial(jax.jit, static_argnames=("family", "mesh"))
def mixed(
  images: UInt8[Array, "B n S S 3"],
  keys: Key[jax.Array, "B"] | None,
  family: str,
  *,
  mesh: Mesh,
) -> UInt8[Array, "B S S 3"]:
  """A family's pictures from its shaders, rows split over the mesh.

  Args:
    images: shaders; n is the family's number.
    keys: of what is random in the mixing, one for each picture; None where a
      picture is one shader.
    family: one that is made of shaders.
    mesh: the devices.
  """
  if images.shape[1] == 1:
    return images[:, 0]
  mix = FAMILIES[family].mix

  def local(images, keys):
    return leaves.over_pictures(
      lambda item: quantize(mix(item[0].astype(jnp.float32) / 255, item[1])),
      (images, keys),
    )

  return on_mesh(local, mesh)(images, keys)


@functools.partial(jax.jit, static_argnames=("family", "size", "mesh"))
def _baseline(keys, ids, seed, *, family: str, size: int, mesh: Mesh):
  """Pictures of a baseline: key, id and seed make one key."""
  function = FAMILIES[family]

  def local(keys, ids):
    seeded = jax.vmap(jax.random.fold_in, (0, None))(keys, seed)
    return quantize(function(keys_of(seeded, ids, family), size=size))

  return on_mesh(local, mesh)(keys, ids)


def on_mesh(function: Callable, mesh: Mesh) -> Callable:
  """The function of rows, compiled, on every device with its share.

  Rows must divide over the mesh; the function sees each share by itself.
  """
  return jax.jit(
    jax.shard_map(
      function, mesh=mesh, in_specs=_ROWS, out_specs=_ROWS, check_vma=False
    )
  )


def quantize(images: Float[Array, "*B S S 3"]) -> UInt8[Array, "*B S S 3"]:
  """[0, 1] as uint8, rounded to nearest."""
  return jnp.round(images * 255.0).astype(jnp.uint8)


@functools.partial(jax.jit, static_argnames="name")
def keys_of(
  key: Key[jax.Array, "..."], ids: Int[Array, "B"], name: str
) -> Key[jax.Array, "B"]:
  """A key for each id: by name, then by id.

  Args:
    key: one for all ids, or one for each.
    ids: [B].
    name: what the keys are for.
  """
  keys = jnp.broadcast_to(key, ids.shape)
  number = np.uint32(_number(name))
  return jax.vmap(
    lambda k, id: jax.random.fold_in(jax.random.fold_in(k, number), id)
  )(keys, ids)


FAMILIES: dict[str, Mixture | Callable] = {
  "shaders": Mixture(num=1, mix=lambda images, key: images[0]),
  "mixup": Mixture(num=2, mix=lambda images, key: mixing.mixup(*images)),
  "shaders_mixup": Mixture(
    num=mixing.NUM_SHADERS_MIXED,
    mix=lambda images, key: mixing.weighted_mean(
      images[:, None],
      mixing.dirichlet_weights(key[None], num=mixing.NUM_SHADERS_MIXED),
    )[0],
  ),
  "kml": Mixture(num=3, mix=lambda images, key: leaves.leaf(*images)),
  "kml_mixup": Mixture(
    num=6,
    mix=lambda images, key: mixing.mixup(
      leaves.leaf(*images[:3]), leaves.leaf(*images[3:])
    ),
  ),
  "dead_leaves": baselines.dead_leaves,
  "fractal_noise": baselines.fractal_noise,
  "iterated_functions": baselines.iterated_functions,
}
"""What makes the pictures of a family, by its name."""

MIXTURES = tuple(
  name for name, made in FAMILIES.items() if isinstance(made, Mixture)
)
"""The families that are made of shaders."""
