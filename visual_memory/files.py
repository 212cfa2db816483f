"""Files that are whole or absent: JSON, tables and pages.

Every write goes to a temporary neighbor first and is then renamed, so that a
killed run never leaves half a file behind.
"""

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def write_text(path: str | os.PathLike, text: str) -> None:
  """Replaces the file at path by this text in one step.

  UTF-8; what UTF-8 cannot hold (a file name in some other encoding) becomes a
  question mark.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    with open(temporary, "wb") as file:
      file.write(text.encode("utf-8", "replace"))
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Replaces the file at path by this value, as `plain` understands it."""
  write_text(path, json.dumps(plain(value), indent=2) + "\n")


def read_json(path: str | os.PathLike) -> Any:
  """The value of a JSON file.

  Raises:
    ValueError: the file is not JSON; names it.
  """
  try:
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(
      f"{path} is not valid JSON ({error}): move it away and run again."
    ) from error


def plain(value: Any, *, where: str = "") -> Any:
  """The value as JSON keeps it: equal values give equal text.

  Keys become strings, tuples become lists, NumPy values become Python's, paths
  become strings. Numbers that JSON cannot hold become "NaN", "Infinity" and
  "-Infinity".

  Args:
    value: nested mappings, sequences, arrays and scalars.
    where: the dotted key of this value, for the error.

  Raises:
    TypeError: something else, named by its dotted key.
  """
  if isinstance(value, Mapping):
    return {
      str(key): plain(item, where=f"{where}.{key}" if where else str(key))
      for key, item in value.items()
    }
  if isinstance(value, (list, tuple)):
    return [plain(v, where=f"{where}[{i}]") for i, v in enumerate(value)]
  if isinstance(value, np.ndarray):
    return plain(value.tolist(), where=where)
  if isinstance(value, np.generic):
    return plain(value.item(), where=where)
  if isinstance(value, float) and not math.isfinite(value):
    return "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  raise TypeError(
    f"{where or 'The value'} is a {type(value).__name__}, which JSON cannot"
    " hold: give numbers, strings, lists or mappings."
  )


def differing_keys(
  old: Mapping[str, Any], new: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
  """The dotted keys whose values differ, each with (old, new).

  A key that one side lacks has the value "(absent)" there.
  """
  old, new = _flatten(plain(old)), _flatten(plain(new))
  keys = list(old) + [key for key in new if key not in old]
  pairs = {
    key: (old.get(key, "(absent)"), new.get(key, "(absent)")) for key in keys
  }
  return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def refuse_other_config(
  path: str | os.PathLike, old: Mapping[str, Any], new: Mapping[str, Any]
) -> None:
  """Raises ValueError, listing both values of each key, unless old is new."""
  different = differing_keys(old, new)
  if different:
    lines = [
      f"  {key}: {a!r} there, {b!r} here" for key, (a, b) in different.items()
    ]
    raise ValueError(
      f"{path} belongs to another config:\n"
      + "\n".join(lines)
      + "\nUse another workdir, or the config it was made with."
    )


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
  """A nested mapping as {"a.b": leaf}; an empty mapping is a leaf."""
  if not isinstance(value, dict) or (prefix and not value):
    return {prefix: value}
  return {
    key: leaf
    for name, item in value.items()
    for key, leaf in _flatten(
      item, f"{prefix}.{name}" if prefix else name
    ).items()
  }
