"""What a search will cost before anything is allocated: bytes and seconds.

  estimate(num_rows=10**9, dim=384, k=100, num_queries=1024,
           num_devices=256, precision="float32", hardware=HARDWARE["v5p"])

`estimate` is arithmetic alone. `compile_search` compiles the real search for
abstract arrays, so that the arithmetic can be held against the compiler's own
count of arguments, results, temporaries and collectives.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.memory import layout, room
from visual_memory.memory.coarse import Coarse
from visual_memory.memory.rows import Rows
from visual_memory.retrieval import certified, merging, tiling

_FOUND_BYTES = 16
"""A found row: similarity, serial, slot, label."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hardware:
  """One device, by its published peaks.

  Attributes:
    backend: "cpu", "gpu" or "tpu": which tile sizes are used.
    memory_bytes: of the device.
    bandwidth: of its memory, bytes per second.
    link: what it sends to other devices at once, bytes per second.
    flops: peak operations per second of the first pass, by precision.
    scores_in_memory: whether scores leave the chip between the matrix product
      and the lane maxima.
    source: where the numbers come from.
  """

  backend: str
  memory_bytes: float
  bandwidth: float
  link: float
  flops: dict[str, float]
  scores_in_memory: bool
  source: str


def _tpu(bf16_flops, **sizes) -> Hardware:
  # float32 at precision HIGHEST is six bfloat16 passes.
  flops = {
    "float32": bf16_flops / 6,
    "bfloat16": bf16_flops,
    "int8": 2 * bf16_flops,
  }
  return Hardware(backend="tpu", flops=flops, scores_in_memory=False, **sizes)


def _hopper(**sizes) -> Hardware:
  flops = {"float32": 67e12, "bfloat16": 989e12, "int8": 1979e12}
  return Hardware(
    backend="gpu", flops=flops, link=450e9, scores_in_memory=True, **sizes
  )


HARDWARE = {
  "v5e": _tpu(
    197e12,
    memory_bytes=16e9,
    bandwidth=819e9,
    link=200e9,
    source="docs.cloud.google.com/tpu/docs/v5e",
  ),
  "v5p": _tpu(
    459e12,
    memory_bytes=95e9,
    bandwidth=2765e9,
    link=600e9,
    source="docs.cloud.google.com/tpu/docs/v5p",
  ),
  "h100": _hopper(
    memory_bytes=80e9, bandwidth=3350e9, source="NVIDIA H100 SXM data sheet"
  ),
  "h200": _hopper(
    memory_bytes=141e9, bandwidth=4800e9, source="NVIDIA H200 data sheet"
  ),
  "cpu": Hardware(
    backend="cpu",
    memory_bytes=16e9,
    bandwidth=20e9,
    link=20e9,
    flops={"float32": 0.3e12, "bfloat16": 0.1e12, "int8": 0.8e12},
    scores_in_memory=False,  # A tile of scores stays in cache.
    source="measured: two cores with AVX-512 VNNI, JAX 0.12",
  ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """The cost of searching one batch of queries.

  Attributes:
    tiling: the static sizes of the search.
    shard_rows: slots per device.
    row_bytes: rows of one device, their coarse copies included.
    argument_bytes: rows, queries and the like, per device.
    output_bytes: results, per device.
    temporary_bytes: about the most that the search itself needs, per device.
    collective_bytes: what the collectives deliver to each device.
    flops: operations of the first pass, per device.
    floor_s: the least time that the peaks allow for the first pass, the
      reading of the rows and the collectives.
    predicted_s: with matrix products at 80 % and memory at 85 % of their
      peaks, and the scores and the rescored rows read and written. A
      prediction, to be replaced by a measurement.
    fits: whether 90 % of the device's memory holds it all.
  """

  tiling: tiling.Tiling
  shard_rows: int
  row_bytes: int
  argument_bytes: int
  output_bytes: int
  temporary_bytes: int
  collective_bytes: int
  flops: float
  floor_s: float
  predicted_s: float
  fits: bool

  @property
  def device_bytes(self) -> int:
    """All bytes per device."""
    return self.argument_bytes + self.output_bytes + self.temporary_bytes


def estimate(
  *,
  num_rows: int,
  dim: int,
  k: int,
  num_queries: int,
  num_devices: int,
  precision: str,
  hardware: Hardware,
) -> Plan:
  """The cost of one batch of queries against a sharded memory.

  Args:
    num_rows: N.
    dim: D.
    k: neighbors per query.
    num_queries: queries per call; more are answered call by call.
    num_devices: in the mesh.
    precision: of the first pass: "float32", "bfloat16" or "int8".
    hardware: one device.
  """
  if min(num_rows, dim, k, num_queries, num_devices) < 1:
    raise ValueError("A search needs at least one row, query and device.")
  shard_rows = layout.capacity_for(num_rows, num_devices) // num_devices
  sizes = tiling.plan(
    num_queries=num_queries,
    shard_rows=shard_rows,
    dim=dim,
    k=k,
    precision=precision,
    backend=hardware.backend,
    num_shards=num_devices,
  )
  item = room.item_bytes(precision)
  row_bytes = room.row_bytes(shard_rows, dim, precision)
  scalar = 0 if precision == "float32" else 4
  argument_bytes = row_bytes + scalar + num_queries * (4 * dim + 8)
  output_bytes = num_queries * (_FOUND_BYTES * k + 1)
  collective = _collective_bytes(sizes, shard_rows, k, num_devices)
  temporary = temporary_bytes(sizes, dim, k, num_devices)
  # Reading the rows and multiplying overlap; collectives come after.
  flops = 2.0 * num_queries * shard_rows * dim
  multiply_s = flops / hardware.flops[precision]
  read = shard_rows * dim * item
  collective_s = collective / hardware.link
  rescored = num_queries * _rescored(sizes, shard_rows) * 4 * dim
  scores = 8 * num_queries * shard_rows if hardware.scores_in_memory else 0
  traffic_s = (scores + rescored) / hardware.bandwidth / 0.85
  total = argument_bytes + output_bytes + temporary
  return Plan(
    tiling=sizes,
    shard_rows=shard_rows,
    row_bytes=row_bytes,
    argument_bytes=argument_bytes,
    output_bytes=output_bytes,
    temporary_bytes=temporary,
    collective_bytes=collective,
    flops=flops,
    floor_s=max(multiply_s, read / hardware.bandwidth) + collective_s,
    predicted_s=max(multiply_s / 0.8, read / hardware.bandwidth / 0.85)
    + traffic_s
    + collective_s,
    fits=total <= 0.9 * hardware.memory_bytes,
  )


def _rescored(sizes: tiling.Tiling, shard_rows: int) -> int:
  """Rows of a shard that are rescored for one query, at most."""
  return _listed(sizes) * (shard_rows // sizes.super_rows)


def _listed(sizes: tiling.Tiling) -> int:
  """Candidates of a query in one super-tile, those of opened lanes too."""
  return sizes.num_candidates + sizes.num_opened * sizes.lane


def _collective_bytes(
  sizes: tiling.Tiling, shard_rows: int, k: int, num_devices: int
) -> int:
  """What certified.search's collectives deliver to one device."""
  num_queries = sizes.queries
  bounds = 4 * num_queries
  if num_devices == 1:
    return bounds
  every = _FOUND_BYTES * sizes.num_merged * num_queries * num_devices
  # Of these, the similarities alone, once for every super-tile.
  num_steps = shard_rows // sizes.super_rows
  every += 4 * sizes.num_merged * num_queries * num_devices * num_steps
  if merging.exchanges(num_queries, sizes.num_merged, num_devices):
    # Its share of the queries from everyone, then everyone's merged share.
    reached = 4 * num_queries * num_steps
    shares = every // num_devices + _FOUND_BYTES * k * num_queries
    return shares + reached + bounds
  return every + bounds


def temporary_bytes(
  sizes: tiling.Tiling, dim: int, k: int, num_devices: int
) -> int:
  """About the most that one device needs beside its arguments."""
  num_queries = sizes.queries
  scores = 4 * num_queries * sizes.rows
  kept = 8 * num_queries * (sizes.super_rows // sizes.lane)
  # A batch of rows of the queries that are rescored together, also as float64,
  # which some compilers never write out.
  rescored = min(sizes.map_queries, num_queries) * dim
  rescored *= (4 + 8) * sizes.num_first * sizes.batch
  handed = _listed(sizes) if sizes.thorough else sizes.num_merged
  sorted_bytes = 2 * _FOUND_BYTES * num_queries * (handed + k)
  # Super-tiles come one after the other: what one sends is held at a time.
  merged = 3 * _collective_bytes(sizes, sizes.super_rows, k, num_devices)
  # What is kept exists once more while the loop that fills it begins.
  return scores + 2 * kept + max(rescored, sorted_bytes, merged)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
  """The compiler's own account of a search, per device.

  Attributes:
    argument_bytes: rows, queries and the like.
    output_bytes: results (and a few bytes for the table of their addresses).
    temporary_bytes: everything in between. A CPU widens bfloat16 rows to
      float32, which the hardware that is planned for does not.
    collective_bytes: results of all collectives in the program.
    hlo: the optimized program's text.
  """

  argument_bytes: int
  output_bytes: int
  temporary_bytes: int
  collective_bytes: int
  hlo: str = dataclasses.field(repr=False)


def compile_search(plan: Plan, *, dim: int, k: int, mesh: Mesh) -> Compiled:
  """Compiles the search of a plan for arrays that need not exist.

  Args:
    plan: from `estimate`, for as many devices as the mesh has.
    dim: D, as in the plan.
    k: as in the plan.
    mesh: devices; simulated ones will do.
  """
  queries, rows, excluded, floor = _abstract_inputs(plan, dim, mesh)
  compiled = certified.search.lower(
    queries, rows, excluded, floor, mesh=mesh, k=k, tiling=plan.tiling
  ).compile()
  memory = compiled.memory_analysis()
  hlo = compiled.as_text()
  return Compiled(
    argument_bytes=memory.argument_size_in_bytes,
    output_bytes=memory.output_size_in_bytes,
    temporary_bytes=memory.temp_size_in_bytes,
    collective_bytes=collective_bytes(hlo),
    hlo=hlo,
  )


def _abstract_inputs(plan: Plan, dim: int, mesh: Mesh):
  """Arguments of certified.search without contents."""
  capacity = plan.shard_rows * mesh.size
  num_queries = plan.tiling.queries

  def array(shape, dtype, sharding):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  everywhere = distributed.replicated(mesh)
  split = distributed.row_sharding(mesh)
  coarse_dim_bytes = plan.row_bytes // plan.shard_rows - 4 * dim - 8
  coarse = None
  if coarse_dim_bytes:
    dtype = jnp.int8 if coarse_dim_bytes == dim + 4 else jnp.bfloat16
    coarse = Coarse(
      values=array((capacity, dim), dtype, split),
      scale=array((), jnp.float32, everywhere),
      residuals=array((capacity,), jnp.float32, split),
    )
  rows = Rows(
    embeddings=array((capacity, dim), jnp.float32, split),
    labels=array((capacity,), jnp.int32, split),
    serials=array((capacity,), jnp.int32, split),
    coarse=coarse,
  )
  return (
    array((num_queries, dim), jnp.float32, everywhere),
    rows,
    array((num_queries,), jnp.int32, everywhere),
    array((num_queries,), jnp.float32, everywhere),
  )


_COLLECTIVE = re.compile(
  r"= (.*?) (?:all-gather|all-to-all|all-reduce|reduce-scatter"
  r"|collective-permute)(?:-start)?\("
)
_SHAPE = re.compile(r"\b(pred|[sufb]+)(\d*)\[([\d,]*)\]")


def collective_bytes(hlo: str) -> int:
  """The bytes of all results of collectives in an optimized program."""
  total = 0
  for result in _COLLECTIVE.findall(hlo):
    for _, bits, sizes in _SHAPE.findall(result):
      count = 1
      for size in filter(None, sizes.split(",")):
        count *= int(size)
      total += count * int(bits or 8) // 8
  return total
