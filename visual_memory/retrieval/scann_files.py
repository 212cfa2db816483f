"""The files of a ScaNN index, looked at before ScaNN opens them.

They may come from a stranger: ScaNN would run a pickle of ids, and open files
wherever its list of them says.
"""

import os
import pathlib
import re

import numpy as np

from visual_memory import files
from visual_memory.checks import as_ids, check_unique

OWN = "visual_memory.json"
"""What we write beside ScaNN's files."""
_PICKLE = "scann_docids.pkl"
_ASSETS = "scann_assets.pbtxt"
_ASSET = re.compile(r'^\s*asset_path: "([\w-][\w.-]*)"$', re.MULTILINE)
"""A file of the index itself, as ScaNN writes it down."""


def read(folder: str | os.PathLike) -> tuple[np.ndarray, str]:
  """The ids of an index's rows in its order, and the digest of those rows.

  Raises:
    ValueError: the folder holds a pickle, or names files outside of it, or ours
      is damaged.
    FileNotFoundError: no index of ours there.
  """
  path = pathlib.Path(folder)
  if (path / _PICKLE).exists():
    raise ValueError(
      f"{path / _PICKLE} is a pickle, which is never opened: build the index"
      " from the memory, or delete that file if the index is ours."
    )
  _check_assets(path)
  return _own(path)


def _own(path: pathlib.Path) -> tuple[np.ndarray, str]:
  """The ids of an index's rows in its order, and what they must be."""
  own = files.read_json(path / OWN, remedy="build the index anew")
  known = isinstance(own, dict) and isinstance(own.get("rows"), str)
  if not known or not isinstance(own.get("ids"), list):
    raise ValueError(f"{path / OWN} is damaged: build the index anew.")
  ids = as_ids(own["ids"])
  check_unique(ids)
  return ids, own["rows"]


def _check_assets(path: pathlib.Path) -> None:
  """Raises ValueError if ScaNN would open a file that is not in the index."""
  listed = path / _ASSETS
  text = listed.read_text(errors="replace") if listed.is_file() else ""
  named = _ASSET.findall(text)
  strange = len(named) != text.count("asset_path")
  if strange or any((path / name).is_symlink() for name in named):
    raise ValueError(
      f"{listed} names files outside of the index: build the index anew."
    )
