"""An encoder in two files of one's own: NAME.npz with weights, NAME.json: card.

  write("work/export/procedural_vit", params, card)
  params, card = read("work/export/procedural_vit.npz")

The card says what the weights are (kind, settings, pooling, preprocessing) and
where they come from; only the former reaches the fingerprint. Weights are kept
in half precision and used in float32.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from visual_memory import files

SHIPPED = pathlib.Path(__file__).parent / "shipped"
"""The directory of the encoders that come with the package."""

MAX_BYTES = 20_000_000
"""The most that a file of the package may take."""

_NEEDED = ("kind", "preprocess", "sha256")


def write(
  path: str | os.PathLike, params: Any, card: Mapping[str, Any]
) -> pathlib.Path:
  """Writes both files; returns the path of the weights.

  Args:
    path: without or with ".npz"; its directory is made.
    params: nested dicts of arrays; stored in float16.
    card: plain values with at least `kind` and `preprocess`.

  Raises:
    ValueError: a weight that float16 cannot hold.
  """
  path = pathlib.Path(path).with_suffix(".npz")
  path.parent.mkdir(parents=True, exist_ok=True)
  leaves = {}
  for entry, leaf in jax.tree_util.tree_leaves_with_path(params):
    name = jax.tree_util.keystr(entry, simple=True, separator="/")
    with np.errstate(over="ignore"):
      leaves[name] = np.asarray(leaf, np.float32).astype(np.float16)
    if not np.isfinite(leaves[name]).all():
      raise ValueError(f"{name} holds values that float16 cannot hold.")
  np.savez_compressed(path, **leaves)
  card = {**card, "sha256": _sha256(path), "num_bytes": path.stat().st_size}
  text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
  path.with_suffix(".json").write_text(text, encoding="utf-8")
  return path


def read(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
  """The params, nested, in float32, and the card.

  Raises:
    FileNotFoundError: one of the two files is missing.
    ValueError: not a card, or weights that are not the card's.
  """
  path = pathlib.Path(path).with_suffix(".npz")
  card_path = path.with_suffix(".json")
  for needed in (path, card_path):
    if not needed.exists():
      raise FileNotFoundError(
        f"There is no {str(needed)!r}: an encoder is a .npz of weights and a"
        " .json card of the same name, as an export writes them."
      )
  card = files.read_json(card_path, remedy="export the encoder again")
  if not isinstance(card, dict):
    raise ValueError(f"{card_path} is no card of an encoder.")
  missing = [name for name in _NEEDED if name not in card]
  if missing:
    raise ValueError(f"{card_path} is no card: it lacks {', '.join(missing)}.")
  if _sha256(path) != card["sha256"]:
    raise ValueError(
      f"{path} is damaged, or not the file that {card_path.name} describes."
    )
  arrays = files.read_arrays(path)
  leaves = {name: value.astype(np.float32) for name, value in arrays.items()}
  return _nested(leaves), card


def shipped_names() -> tuple[str, ...]:
  """The encoders that come with the package."""
  return tuple(sorted(path.stem for path in SHIPPED.glob("*.npz")))


def _nested(leaves: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Slash-separated names as nested dicts; numbers index lists of blocks."""
  nested: dict[Any, Any] = {}
  for name, leaf in leaves.items():
    place = nested
    *parents, last = [int(p) if p.isdigit() else p for p in name.split("/")]
    for parent in parents:
      place = place.setdefault(parent, {})
    place[last] = leaf
  return nested


def _sha256(path: pathlib.Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()
