"""What is kept of a row beside its embedding: one JSON object."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from visual_memory.checks import as_list, shown

Metadata = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
"""One JSON object for all rows, or one for each."""


def encode_metadata(metadata: Metadata, count: int) -> list[bytes]:
  """The JSON of every row's metadata ("" for none), UTF-8.

  Raises:
    ValueError: names the row whose metadata is no JSON object.
  """
  if metadata is None:
    return [b""] * count
  if isinstance(metadata, Mapping):
    return [_encode_object(metadata, 0)] * count
  metadata = as_list(metadata, "metadata")
  if len(metadata) != count:
    raise ValueError(f"{count} rows but {len(metadata)} metadata objects.")
  return [_encode_object(value, row) for row, value in enumerate(metadata)]


def check_object(value: Mapping[str, Any], what: str) -> bytes:
  """A JSON object as UTF-8.

  Args:
    value: a mapping with str keys, at every depth.
    what: names it in errors.

  Raises:
    ValueError: it is none.
  """
  if not isinstance(value, Mapping):
    raise ValueError(
      f"{what} is {shown(value)}: it must be a JSON object (a dict with"
      " str keys)."
    )
  try:
    _check_keys(value, what)
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
  except _BadKey:
    raise
  except (TypeError, ValueError, RecursionError) as error:
    raise ValueError(f"{what} cannot be written as JSON: {error}.") from error


class _BadKey(ValueError):
  """A key that is no str."""


def _check_keys(value: Any, what: str) -> None:
  """Raises ValueError for a key that JSON would turn into another one."""
  if isinstance(value, Mapping):
    for key, item in value.items():
      if not isinstance(key, str):
        raise _BadKey(f"{what} has the key {shown(key)}: use a str.")
      _check_keys(item, what)
  elif isinstance(value, (list, tuple)):
    for item in value:
      _check_keys(item, what)


def _encode_object(value: Mapping[str, Any], row: int) -> bytes:
  data = check_object(value, f"The metadata of row {row}")
  return data if value else b""
