"""Sizes of the search: pure numbers, shared by the search and the planner.

The search of one shard goes over super-tiles of rows (bounding what is kept),
each made of tiles (one matrix product each), each made of blocks of
`block` rows of which only the two best scores are kept. After a super-tile,
the `num_candidates` best kept scores are looked up and rescored exactly.
"""

import dataclasses

_SCORE_TILES = {
  # backend: (queries, rows) of one matrix product. On CPU the scores stay in
  # cache (512 x 2048 float32 = 4 MB; measured best of 1k to 8k rows). The
  # others are chosen from published cache and memory sizes.
  "cpu": (512, 2048),
  "gpu": (4096, 32768),
  "tpu": (1024, 8192),
}
_SUPER_TILE_ROWS = 1 << 20
_TILE_BYTES = 3 << 20
"""Rows of one matrix product on a CPU stay in cache as well."""
_LARGEST_BLOCK = 64
_RESCORE_COST = 0.4
"""Of one entry of a rescored row, in units of one block's kept scores (both
measured on a CPU: about 1.2 and 3 ns). Larger blocks keep fewer scores, but
more of them have to be opened."""
_LEAST_QUERIES = 8
_MARGIN = {"float32": (1.0, 12), "bfloat16": (1.5, 32), "int8": (3.0, 32)}
"""Candidates for k neighbors: factor * k + constant. Wider where the first
pass is coarser; a query that needed more is answered again, never wrongly."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiling:
  """Static sizes of one compiled search.

  Attributes:
    queries: queries per call.
    rows: rows per matrix product; a power of two.
    super_rows: rows between two selections; a multiple of `rows`.
    block: rows per block, a power of two; 2 hides nothing.
    num_candidates: candidates kept per query and super-tile.
    num_opened: blocks per query and super-tile that are rescored whole,
      because more than two of their rows may be candidates.
    masked: whether empty slots are scored below everything.
    map_queries: queries rescored at once.
    thorough: whether all candidates are sorted, so that ties are settled.
  """

  queries: int
  rows: int
  super_rows: int
  block: int
  num_candidates: int
  num_opened: int
  masked: bool
  map_queries: int
  thorough: bool


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
    row_tile: overrides the rows per matrix product (a power of two).
    thorough: sizes of the second attempt: nothing hidden, many candidates.

  Raises:
    ValueError: row_tile is not a power of two (of at least 2).
  """
  if row_tile is not None and (row_tile < 2 or row_tile & (row_tile - 1)):
    raise ValueError(
      f"row_tile = {row_tile}: choose a power of two, 2 or more (or None)."
    )
  tile = row_tile or _row_tile(dim, backend)
  rows = min(tile, shard_rows & -shard_rows)  # The power of two dividing it.
  factor, constant = _MARGIN[precision]
  num_candidates = int(factor * k) + constant
  if thorough:
    num_candidates = 4 * num_candidates + 512
  super_rows = rows * _largest_divisor(
    shard_rows // rows, max(1, _SUPER_TILE_ROWS // rows)
  )
  num_candidates = min(num_candidates, super_rows - 1)
  block = 2 if thorough else _block(num_candidates, super_rows, rows, dim)
  return Tiling(
    queries=num_queries,
    rows=rows,
    super_rows=super_rows,
    block=block,
    num_candidates=num_candidates,
    num_opened=_num_opened(num_candidates, super_rows, block),
    masked=thorough or k > shard_rows // 8,
    map_queries=1 if backend == "cpu" else 256,
    thorough=thorough,
  )


def _row_tile(dim: int, backend: str) -> int:
  """Rows of one matrix product, a power of two."""
  rows = _SCORE_TILES[backend][1]
  if backend == "cpu":
    fitting = max(1, _TILE_BYTES // (4 * dim))
    rows = min(rows, max(128, 1 << (fitting.bit_length() - 1)))
  return rows


def _num_opened(num_candidates: int, super_rows: int, block: int) -> int:
  """Blocks that may hold a third candidate: room for thrice those expected.

  n candidates in m blocks meet in about n**2 / 2m of them.
  """
  if block == 2:
    return 0  # Both rows are kept.
  return 3 * (num_candidates**2 * block // (2 * super_rows)) + 4


def _block(num_candidates: int, super_rows: int, rows: int, dim: int) -> int:
  """The cheapest block size."""
  sizes = [2**i for i in range(1, _LARGEST_BLOCK.bit_length())]

  def cost(block):
    opened = _num_opened(num_candidates, super_rows, block) * block
    return super_rows / block + _RESCORE_COST * dim * opened

  return min((size for size in sizes if size <= rows), key=cost)


def _largest_divisor(number: int, limit: int) -> int:
  """The largest divisor of number that is at most limit."""
  return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)
