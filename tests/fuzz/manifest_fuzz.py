"""Stores whose manifest is broken, or says something else and is signed."""

import json
import pathlib

import fuzzing
import hostile_stores

from visual_memory.store.storage import manifest


def check(seed: int, folder: pathlib.Path) -> str:
  """One manifest."""
  rng = fuzzing.random_of(seed)
  files = hostile_stores.sound()
  data = files[manifest.KEY]
  if rng.random() < 0.3:
    data = fuzzing.mutated(data, rng)
  else:
    file = json.loads(data)
    for _ in range(rng.choice([1, 1, 2])):
      file = fuzzing.mutated_json(file, rng)
    content = file.get("content") if isinstance(file, dict) else file
    receipts = file.get("receipts") if isinstance(file, dict) else None
    version = rng.choice([1, 2, 2])
    try:
      data = hostile_stores.signed(content, receipts, version)
    except (ValueError, RecursionError):
      data = repr(file).encode("utf-8", "replace")
  files = {**files, manifest.KEY: data}
  with fuzzing.guarded(folder, hostile_stores.writer(files)) as place:
    return hostile_stores.use(place)
