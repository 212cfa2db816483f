"""Plain nested values to frozen settings, checked whole.

  settings = from_values({"title": "Digits", ...}, StudySettings)

What a config, or a run's config.json, says: keys that the settings do not
have, values of another type and names that are not among the known ones are
refused, by the name of the key.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

_Settings = TypeVar("_Settings")

Name = typing.NewType("Name", str)
"""A text without a comma: several may be one text with commas between them."""


def from_values(
  values: Mapping[str, Any], kind: type[_Settings], where: str = "config"
) -> _Settings:
  """The settings of this kind that nested values describe.

  Args:
    values: with the names of the settings' fields; tuples may be lists, or
      one value; known names may have commas between them.
    kind: a frozen dataclass whose fields are values, tuples, mappings and
      other such classes.
    where: what errors call the values.

  Raises:
    ValueError: a key that there is not, one that is missing, or a value that
      cannot be; names the key.
  """
  fields = {field.name: field for field in dataclasses.fields(kind)}
  hints = _hints(kind)
  for key in values:
    if key not in fields:
      raise ValueError(
        f"{where} has no key {key!r}; it has: {', '.join(fields)}."
      )
  for name, field in fields.items():
    required = (
      field.default is dataclasses.MISSING
      and field.default_factory is dataclasses.MISSING
    )
    if required and name not in values:
      raise ValueError(f"{where} lacks the key {name!r}.")
  given = {
    key: _value(value, hints[key], f"{where}.{key}")
    for key, value in values.items()
  }
  try:
    return kind(**given)
  except ValueError as error:
    raise ValueError(f"{where}: {error}") from error


_hints = functools.cache(typing.get_type_hints)


def _value(value, kind, where):
  """A value as a field of this kind holds it."""
  origin, parts = typing.get_origin(kind), typing.get_args(kind)
  if kind is Any:
    return value
  if origin in (Union, types.UnionType):
    (inner,) = (part for part in parts if part is not type(None))
    return None if value is None else _value(value, inner, where)
  if origin is Literal:
    if value not in parts:
      known = ", ".join(repr(part) for part in parts)
      raise ValueError(f"{where} is {value!r}; it can be: {known}.")
    return value
  if origin is tuple:
    return _tuple(value, parts, where)
  if dataclasses.is_dataclass(kind) or origin in (dict, Mapping):
    if not isinstance(value, Mapping):
      raise ValueError(f"{where} is a section, not {value!r}.")
    if dataclasses.is_dataclass(kind):
      return from_values(value, kind, where)
    return {
      key: _value(each, parts[1], f"{where}.{key}")
      for key, each in value.items()
    }
  kind = str if kind is Name else kind
  if kind is float and type(value) is int:
    return float(value)
  if type(value) is not kind:
    raise ValueError(f"{where} is {value!r}, which is no {kind.__name__}.")
  return value


def _tuple(value, parts, where):
  """A tuple from a tuple, a list, or names with commas between them."""
  kinds = parts[0] if parts[-1] is Ellipsis else None
  if not isinstance(value, (tuple, list)):
    value = (value,)  # How a command line spells a tuple of one.
  if kinds is Name or typing.get_origin(kinds) is Literal:
    value = [
      name.strip() if isinstance(name, str) else name
      for names in value
      for name in (names.split(",") if isinstance(names, str) else (names,))
    ]
  if kinds is None and len(value) != len(parts):
    raise ValueError(f"{where} is {value!r}, not {len(parts)} values.")
  each = [kinds] * len(value) if kinds is not None else parts
  return tuple(
    _value(one, kind, f"{where}[{place}]")
    for place, (one, kind) in enumerate(zip(value, each, strict=True))
  )
