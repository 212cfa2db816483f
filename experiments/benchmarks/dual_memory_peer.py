"""One image after the other in torch, as the released code of DMN reads."""

import time

import numpy as np


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
