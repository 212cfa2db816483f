"""Sizes of the search: pure numbers, shared by the search and the planner.

The search of one shard goes over super-tiles of rows (bounding what is kept),
each made of tiles (one matrix product each), each made of lanes of
`lane` rows of which only the two best scores are kept. After a super-tile,
the rows of the `num_candidates` best kept scores are rescored, as far as they
may be among the best `num_merged`.

Memories spread their rows evenly, so every super-tile of every shard holds its
share of the candidates, and little more: with n candidates wanted in p parts,
one part holds n / p of them with a variance of n / p * (1 - 1 / p).
"""

import dataclasses
import math
import statistics

_SCORE_TILES = {
  # backend: (queries, rows) of one matrix product. On CPU the scores stay in
  # cache (512 x 1024 float32 = 2 MB; measured best of 1k to 4k rows); on a GPU
  # every product and every selection has a price of its own, so they are few.
  # Those of a TPU are chosen from published sizes.
  "cpu": (512, 1024),
  "gpu": (4096, 32768),
  "tpu": (1024, 8192),
}
_MOST_TILE_ROWS = 1 << 20
_SUPER_TILE_ROWS = {"cpu": 1 << 20, "gpu": 1 << 21, "tpu": 1 << 20}
_TILE_BYTES = 3 << 20
"""Rows of one matrix product on a CPU stay in cache as well."""
_LARGEST_LANE = 64
_LEAST_LANES = 32
"""In one product: the maxima of so many lanes are taken side by side."""
_RESCORE_COST = 0.05
"""Of one entry of a rescored row, in units of one lane's kept scores (both
measured on a CPU: about 0.3 and 10 ns). Larger lanes keep fewer scores, but
more of them have to be opened."""
_BATCH_ROWS = {"cpu": 32, "gpu": 256, "tpu": 256}
_MAP_QUERIES = {"cpu": 1, "gpu": 256, "tpu": 256}
"""Rows of a query, and queries, that are rescored at once: few where a loop
costs little."""
_LEAST_QUERIES = 8
_WINDOW = {"float32": 0.0, "bfloat16": 0.0045, "int8": 0.0195}
"""How much more similar than its score a row may be, with a sixth of room: the
slack of unit rows (see first_pass.py), which changes little with the dimension
D (bfloat16: 0.0037 to 0.0042, int8: 0.0130 to 0.0172, D = 64 to 1,536)."""
_EXTRA_MERGED = 12
"""Rows merged beyond k, so that ties for the last place are seldom cut."""
_DEVIATIONS, _LEAST_EXTRA = 3.0, 8
"""Room in one part beyond its share of the candidates."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiling:
  """Static sizes of one compiled search.

  Attributes:
    queries: queries per call.
    rows: rows per matrix product; a multiple of `lane`.
    super_rows: rows between two selections; a multiple of `rows`.
    lane: rows per lane, a power of two; 2 hides nothing.
    num_candidates: candidates kept per query and super-tile.
    num_first: batches of candidates that are rescored in any case.
    num_merged: rows per query that a shard hands to the merge.
    num_opened: lanes per query and super-tile that are rescored whole,
      because more than one of their rows may be a candidate.
    batch: rows of a query that are rescored at once.
    masked: whether empty slots are scored below everything.
    map_queries: queries rescored at once; divides `queries`.
    thorough: whether all candidates are sorted, so that ties are settled.
  """

  queries: int
  rows: int
  super_rows: int
  lane: int
  num_candidates: int
  num_first: int
  num_merged: int
  num_opened: int
  batch: int
  masked: bool
  map_queries: int
  thorough: bool


def next_k(k: int) -> int:
  """The least of 1, 2, 5, 10, 15, 20, 30, 50, 75, 100, 150, ... from k on."""
  if k <= 5:
    return min(size for size in (1, 2, 5) if size >= k)
  tens = 10 ** max(1, len(str(k - 1)) - 1)
  steps = (10, 15, 20, 30, 50, 75, 100)
  return min(x * tens // 10 for x in steps if x * tens // 10 >= k)


def query_tile(num_queries: int, backend: str) -> int:
  """Queries per call: a power of two, so that few shapes are compiled."""
  most = _SCORE_TILES[backend][0]
  return min(most, max(_LEAST_QUERIES, 1 << (num_queries - 1).bit_length()))


def plan(
  *,
  num_queries: int,
  shard_rows: int,
  dim: int,
  k: int,
  precision: str,
  backend: str,
  num_shards: int = 1,
  row_tile: int | None = None,
  thorough: bool = False,
) -> Tiling:
  """The sizes for searching a shard of shard_rows slots.

  Args:
    num_queries: queries per call.
    shard_rows: slots of one device.
    dim: of the embeddings.
    k: neighbors wanted (and one more if a query is to be left out).
    precision: of the first pass.
    backend: "cpu", "gpu" or "tpu".
    num_shards: devices that the rows are spread over.
    row_tile: overrides the most rows per matrix product (a power of two).
    thorough: sizes of the second attempt: nothing hidden, many candidates.

  Raises:
    ValueError: row_tile is not a power of two (of at least 2).
  """
  if row_tile is not None and (row_tile < 2 or row_tile & (row_tile - 1)):
    raise ValueError(
      f"row_tile = {row_tile}: choose a power of two, 2 or more (or None)."
    )
  rows = _tile_rows(
    shard_rows, row_tile or _row_tile(dim, backend, num_queries)
  )
  super_rows = rows * _largest_divisor(
    shard_rows // rows, max(1, _SUPER_TILE_ROWS[backend] // rows)
  )
  wanted = _wanted(k, shard_rows * num_shards, dim, precision)
  if thorough:
    num_candidates = 4 * wanted + 512
    num_merged = k
  else:
    num_parts = num_shards * (shard_rows // super_rows)
    num_candidates = _share(wanted, num_parts)
    num_merged = _share(k + _EXTRA_MERGED, num_shards)
  batch = _BATCH_ROWS[backend]
  num_candidates = min(num_candidates, super_rows - 1)
  if thorough:
    lane, num_opened = 2, num_candidates  # Both rows of every lane.
  else:
    lane = _lane(num_candidates, super_rows, rows, dim)
    num_opened = _num_opened(num_candidates, super_rows, lane)
  return Tiling(
    queries=num_queries,
    rows=rows,
    super_rows=super_rows,
    lane=lane,
    num_candidates=num_candidates,
    num_first=math.ceil(num_merged / batch),
    num_merged=num_merged,
    num_opened=num_opened,
    batch=batch,
    masked=thorough or k > shard_rows // 8,
    map_queries=_largest_divisor(num_queries, _MAP_QUERIES[backend]),
    thorough=thorough,
  )


def _wanted(k: int, num_rows: int, dim: int, precision: str) -> int:
  """The rows that may be among the k nearest, for all but few queries.

  Similarities of unit rows are about normal with deviation 1 / sqrt(D). Within
  the window below the k-th largest lie k * growth more; given the k-th, their
  number is negative binomial. A query that needed more is answered again,
  never wrongly: one in a thousand of random, clustered or near-duplicate rows.
  """
  normal = statistics.NormalDist()
  window = _WINDOW[precision] * math.sqrt(dim)
  if not window or k >= num_rows:
    return k + _EXTRA_MERGED
  kth = -normal.inv_cdf(k / num_rows)
  growth = num_rows * normal.cdf(window - kth) / k - 1
  deviation = math.sqrt(k * growth * (1 + growth))
  most = k * (1 + growth) + _DEVIATIONS * deviation + 6 * (1 + growth)
  return math.ceil(most) + _EXTRA_MERGED


def _share(count: int, num_parts: int) -> int:
  """What one part holds of a count that is spread over parts, with room."""
  if num_parts == 1:
    return count
  share = count / num_parts
  deviation = math.sqrt(share * (1 - 1 / num_parts))
  most = share + _DEVIATIONS * deviation + _LEAST_EXTRA
  return min(count, math.ceil(most))


def _row_tile(dim: int, backend: str, num_queries: int) -> int:
  """The most rows of one matrix product, a power of two."""
  queries, rows = _SCORE_TILES[backend]
  if backend == "cpu":
    fitting = max(1, _TILE_BYTES // (4 * dim))
    return min(rows, max(128, 1 << (fitting.bit_length() - 1)))
  # Few queries leave room for the scores of more rows.
  room = max(1, queries // num_queries).bit_length() - 1
  return min(rows << room, _MOST_TILE_ROWS)


def _tile_rows(shard_rows: int, most: int) -> int:
  """Rows of one matrix product: whole lanes that divide a shard."""
  power = shard_rows & -shard_rows
  unit = min(most, power, _LEAST_LANES * _LARGEST_LANE)
  return unit * _largest_divisor(shard_rows // unit, most // unit)


def _num_opened(num_candidates: int, super_rows: int, lane: int) -> int:
  """Lanes that may hold two candidates: room for twice those expected."""
  expected = int(_crowded(num_candidates, super_rows, lane))
  return min(num_candidates, 2 * expected + 6)


def _crowded(count: int, super_rows: int, lane: int) -> float:
  """In how many of m lanes n rows meet: about n**2 / 2m."""
  return count**2 * lane / (2 * super_rows)


def _lane(num_candidates: int, super_rows: int, rows: int, dim: int) -> int:
  """The cheapest lane size."""
  sizes = [2**i for i in range(1, _LARGEST_LANE.bit_length())]

  def cost(lane):
    # About half of the candidates turn out to be needed.
    opened = _crowded(num_candidates // 2, super_rows, lane) + 1
    return super_rows / lane + _RESCORE_COST * dim * opened * lane

  fitting = [size for size in sizes if size * _LEAST_LANES <= rows]
  return min(fitting or sizes[:1], key=cost)


def _largest_divisor(number: int, limit: int) -> int:
  """The largest divisor of number that is at most limit."""
  return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)
