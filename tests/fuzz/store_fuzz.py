"""Stores with damaged, missing, foreign and linked files."""

import os
import pathlib

import fuzzing
import hostile_stores


def check(seed: int, folder: pathlib.Path) -> str:
  """One store."""
  rng = fuzzing.random_of(seed)
  files = dict(hostile_stores.sound())
  for _ in range(rng.choice([1, 1, 2, 3])):
    key = rng.choice(sorted(files))
    kind = rng.randrange(8)
    if kind == 0:
      del files[key]
    elif kind == 1:
      files[key + rng.choice([".bak", "0", "/x"])] = files.pop(key)
    elif kind == 2:
      files[rng.choice(sorted(files))] = files[key]
    else:
      files[key] = fuzzing.mutated(files[key], rng)
  if rng.random() < 0.6:
    files = hostile_stores.resealed(files)

  def fill(place: pathlib.Path) -> None:
    hostile_stores.writer(_without_clashes(files))(place)
    if rng.random() < 0.5:
      _put_something_else(rng, place)

  with fuzzing.guarded(folder, fill) as place:
    return hostile_stores.use(place)


def _without_clashes(files: dict[str, bytes]) -> dict[str, bytes]:
  """The files of which none is another's folder."""
  folders = {key.rpartition("/")[0] for key in files}
  return {key: data for key, data in files.items() if key not in folders}


def _put_something_else(rng, place: pathlib.Path) -> None:
  """A link, a pipe or a directory where a file or a folder was."""
  chosen = rng.choice(sorted(place.rglob("*")))
  outside = place.parent / "outside"
  kind = rng.randrange(6)
  if chosen.is_dir():
    os.rename(chosen, outside.parent / "moved")
    if kind < 4:
      chosen.symlink_to(rng.choice(["../moved", "../outside/kept", "."]))
    else:
      chosen.write_bytes(b"x")
    return
  chosen.unlink()
  if kind < 3:
    up = "/".join([".."] * len(chosen.relative_to(place).parts))
    target = rng.choice(["target", "outside/y", "outside/none", "outside"])
    chosen.symlink_to(f"{up}/{target}")
  elif kind == 3:
    os.mkfifo(chosen)
  elif kind == 4:
    chosen.mkdir()
  else:
    chosen.symlink_to(chosen.name)
