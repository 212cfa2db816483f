"""The k nearest other rows of every row of a memory on disk.

  graph = all_pairs.build(blocks, "graph_dir", k=100)   # again to continue
  for ids, near in graph: ...                           # block by block

One file per block of queries, each written whole or not at all: a run that was
stopped continues where it was, to the same result.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator

import numpy as np
from jax.sharding import Mesh

from visual_memory import distributed, files
from visual_memory.progress import Progress
from visual_memory.retrieval import streaming
from visual_memory.retrieval.row_blocks import RowBlocks, in_order, strings
from visual_memory.types import Neighbors, as_ids

_MANIFEST = "graph.json"
_FORMAT = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Graph:
  """The finished graph of a directory. Made by `build` or `open_graph`.

  Attributes:
    path: the directory.
    k: neighbors per row.
    num_parts: files, one for each block of rows.
    ids: every row's id, in order of insertion, [N].
  """

  path: pathlib.Path
  k: int
  num_parts: int
  ids: np.ndarray

  def __len__(self) -> int:
    """The number of rows."""
    return len(self.ids)

  def __iter__(self) -> Iterator[tuple[np.ndarray, Neighbors]]:
    """The ids of a block's rows [B] and their Neighbors [B, k], in order."""
    for part in range(self.num_parts):
      with np.load(_part(self.path, part), allow_pickle=False) as arrays:
        near = Neighbors(
          ids=self.ids[arrays["indices"]],
          indices=arrays["indices"],
          labels=arrays["labels"],
          similarities=arrays["similarities"],
          num_redone=int(arrays["num_redone"]),
        )
        yield _ids(arrays), near


def build(
  blocks: RowBlocks,
  path: str | os.PathLike,
  *,
  k: int,
  mesh: Mesh | None = None,
  precision: str = "float32",
) -> Graph:
  """Finds the k nearest other rows of every row, or what is missing of that.

  Every process must call this, with a path that all of them share.

  Args:
    blocks: the rows; read once per block.
    path: a directory for the graph; made if absent.
    k: neighbors per row, its own row not counted.
    mesh: as in streaming.search.
    precision: as in streaming.search.

  Raises:
    ValueError: the directory holds the graph of other rows or another k.
  """
  path = pathlib.Path(path)
  about = {"k": k, "num_parts": len(blocks), "rows": _digest(blocks)}
  _claim(path, {"format": _FORMAT, **about})
  lead = distributed.is_lead()
  with Progress(len(blocks), what="blocks", enabled=lead) as progress:
    for part in range(len(blocks)):
      if not _part(path, part).exists():
        _build_part(blocks, path, part, k=k, mesh=mesh, precision=precision)
      progress.advance(1)
  return open_graph(path)


def open_graph(path: str | os.PathLike) -> Graph:
  """The graph in a directory.

  Raises:
    FileNotFoundError: no graph there, or an unfinished one.
  """
  path = pathlib.Path(path)
  manifest = json.loads((path / _MANIFEST).read_text())
  ids, serials = [], []
  for part in range(manifest["num_parts"]):
    with np.load(_part(path, part), allow_pickle=False) as arrays:
      ids.append(_ids(arrays))
      serials.append(arrays["serials"])
  return Graph(
    path=path,
    k=manifest["k"],
    num_parts=manifest["num_parts"],
    ids=np.concatenate(ids)[np.argsort(np.concatenate(serials))],
  )


def _build_part(blocks, path, part, *, k, mesh, precision):
  """Searches for one block's rows and writes their file."""
  block = blocks[part]
  ids = strings(block.ids)
  near = streaming.search(
    np.asarray(block.embeddings),
    in_order(blocks),
    k=k,
    exclude_self=ids,
    mesh=mesh,
    precision=precision,
  )
  if distributed.is_lead():
    encoded = json.dumps(ids.tolist()).encode()
    with files.replacing(_part(path, part)) as partial:
      np.savez(
        partial,
        indices=near.indices,
        labels=near.labels,
        similarities=near.similarities,
        num_redone=near.num_redone,
        ids=np.frombuffer(encoded, np.uint8),
        serials=block.serials,
      )
  distributed.barrier(f"all_pairs part {part}")


def _claim(path: pathlib.Path, manifest: dict) -> None:
  """Makes the directory this graph's, or checks that it is."""
  file = path / _MANIFEST
  if file.exists():
    old = json.loads(file.read_text())
    if old != manifest:
      changed = [name for name in manifest if old.get(name) != manifest[name]]
      raise ValueError(
        f"{path} holds the graph of another search ({', '.join(changed)}"
        " differ): choose another directory, or delete that one."
      )
  elif distributed.is_lead():
    files.write_json(file, manifest)
  distributed.barrier("all_pairs manifest")


def _digest(blocks: RowBlocks) -> str:
  """SHA-256 of every row, label, id and serial."""
  digest = hashlib.sha256()
  for block in in_order(blocks):
    for array in (block.embeddings, block.labels, block.serials):
      digest.update(np.ascontiguousarray(array).data)
    digest.update(json.dumps(strings(block.ids).tolist()).encode())
  return digest.hexdigest()


def _part(path: pathlib.Path, part: int) -> pathlib.Path:
  return path / f"part-{part:06d}.npz"


def _ids(arrays) -> np.ndarray:
  return as_ids(json.loads(arrays["ids"].tobytes()))
