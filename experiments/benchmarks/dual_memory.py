"""Times a stream through a dynamic memory, and torch on a slice of it.

Torch reads one image after the other, as the released code of DMN does.

  python -m experiments.benchmarks.dual_memory \\
      --config=configs/benchmark_dual_memory.py[:smoke] --workdir=DIR
"""

import time

import numpy as np

from experiments import terminal
from experiments.benchmarks.peak_memory import peak_bytes
from visual_memory import distributed, files
from visual_memory.data.synthetic import synthetic_embeddings
from visual_memory.dual_memory import dynamic_memory, guesses, streams
from visual_memory.dual_memory.dual_memory import IDENTITY, class_rows
from visual_memory.reports import workdir


def main(config, path) -> None:
  """Times the stream, compilation included, and the peer."""
  mesh = distributed.make_mesh()
  sizes = dict(dim=config.dim, num_classes=config.num_classes, seed=0)
  given = synthetic_embeddings(
    num_rows=config.num_queries, split="test", **sizes
  )
  text = synthetic_embeddings(num_rows=config.num_classes, **sizes).embeddings
  guess = guesses.text_pseudo_labels(
    given.embeddings[:, None], text, projection=IDENTITY,
    inverse_temperature=20.0, fraction=1.0, mesh=mesh,
  )  # fmt: skip
  fixed = class_rows(
    text=text, shots=None, num_classes=config.num_classes, dim=config.dim
  )

  def run(count):
    empty = dynamic_memory.empty_memory(
      num_classes=config.num_classes, num_slots=config.num_slots,
      dim=config.dim, keep_log=False,
    )  # fmt: skip
    start = time.perf_counter()
    memory, cosines = streams.stream(
      empty, given.embeddings[:count], guess.labels[:count],
      guess.entropies[:count], ids=None, fixed=fixed, projection=IDENTITY,
      sharpness=5.5, order="write_first", form="parallel", mesh=mesh,
    )  # fmt: skip
    return time.perf_counter() - start, memory, cosines

  seconds, memory, cosines = run(config.num_queries)
  # The last queries, when the memory was as it ended up but for a few writes.
  last = given.embeddings[-config.peer_queries :]
  peer = seconds_per_image(last, text, memory.embeddings, memory.book.counts)
  result = {
    "seconds": seconds,
    "queries_per_s": config.num_queries / seconds,
    "state_bytes": memory.nbytes,
    "used_slots": int(memory.book.counts.sum()),
    "peak_bytes": peak_bytes(),
    "peer": None
    if peer is None
    else {
      "name": "torch, one image after the other",
      "seconds_per_image": peer[0],
      "seconds_for_all": peer[0] * config.num_queries,
      "ratio": peer[0] * config.num_queries / seconds,
      "largest_difference_of_last": float(
        np.abs(peer[1][-1] - cosines[-1]).max()
      ),
    },
    "config": config.to_dict(),
    "environment": workdir.environment(),
  }
  path.mkdir(parents=True, exist_ok=True)
  files.write_json(path / "benchmark_dual_memory.json", result)
  said = (
    f"{config.num_queries:,} queries in {seconds:.1f} s"
    f" ({result['used_slots']:,} slots used, {memory.nbytes / 1e6:.0f} MB)"
  )
  if peer is not None:
    said += f"; torch would take {peer[0] * config.num_queries:.0f} s"
  print(said)


def seconds_per_image(
  queries: np.ndarray, text: np.ndarray, memory: np.ndarray, counts: np.ndarray
) -> tuple[float, np.ndarray] | None:
  """Seconds, and the cosines that it reads; None without torch.

  Args:
    queries: unit rows to be read, [n, D].
    text: a row of each class, [C, D].
    memory: the slots, zero where empty, [C, L, D].
    counts: slots in use, [C].
  """
  try:
    import torch
  except ImportError:
    return None
  text, memory = torch.from_numpy(text), torch.from_numpy(memory)
  used = torch.tensor(counts.tolist())[:, None]
  mask = torch.arange(memory.shape[1])[None] < used
  mask = torch.cat([mask, torch.ones(len(text), 1, dtype=torch.bool)], dim=1)
  cosines = []
  with torch.no_grad():
    _read(torch, torch.from_numpy(queries[0]), text, memory, mask)
    start = time.perf_counter()
    for query in torch.from_numpy(queries):
      cosines.append(_read(torch, query, text, memory, mask))
    seconds = time.perf_counter() - start
  return seconds / len(queries), torch.stack(cosines).numpy()


def _read(torch, query, text, memory, mask):
  """exp(-beta (1 - cosine)) over slots and text, then a normalized sum."""
  rows = torch.cat([memory, text[:, None]], dim=1)  # [C, L + 1, D]
  weights = torch.exp(-5.5 * (1 - rows @ query)) * mask
  answer = (weights[..., None] * rows).sum(dim=1)
  return (answer / answer.norm(dim=-1, keepdim=True)) @ query


if __name__ == "__main__":
  terminal.run(main)
