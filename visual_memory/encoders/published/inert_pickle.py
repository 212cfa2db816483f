"""A pickle machine that can make values, and nothing else.

  value = load(data, resolve=..., refer=...)

Python's own unpickler imports what a pickle names, calls it, sets attributes
on it and reserves as much memory as a number in the file asks for. This one
knows the instructions that files of tensors are made of. A name becomes
whatever `resolve` gives for it, or an error; only a Callable stand-in can be
called and only an object with a `take_state` method can be given a state. Keys
of dicts are texts or whole numbers. Each instruction takes time and memory in
proportion to its own bytes in the file, so that the whole does, too.
"""

import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np


class UnsafeFileError(ValueError):
  """The file asks for something other than values of the expected kinds."""


class Function:
  """A stand-in for a function or a class that a pickle may call."""

  __slots__ = ("_made",)

  def __init__(self, made: Callable[..., Any]):
    """What is made of the arguments, in time in proportion to them."""
    self._made = made

  def __call__(self, *arguments: Any) -> Any:
    """The value."""
    return self._made(*arguments)


class _Mark:
  """Where a run of values on the stack begins."""


_MARK = _Mark()

_VALUES = {
  "NONE": None,
  "NEWTRUE": True,
  "NEWFALSE": False,
}
_ARGUMENTS = frozenset((
  "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE",
  "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
  "SHORT_BINSTRING", "BINSTRING",
))  # fmt: skip
"""Instructions that push what stands behind them."""

_FRAMING = frozenset(("PROTO", "FRAME", "STOP"))
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(
  data: bytes,
  *,
  resolve: Callable[[str, str], Any],
  refer: Callable[[Any], Any],
) -> Any:
  """The value of a pickle.

  Args:
    data: the pickle.
    resolve: from a module and a name to a stand-in; raises UnsafeFileError.
    refer: from a persistent id to a value.

  Raises:
    UnsafeFileError: an instruction or a value that no file of tensors needs.
    Exception: whatever a damaged pickle breaks.
  """
  machine = _Machine(resolve, refer)
  for instruction, argument, _ in pickletools.genops(data):
    machine.run(instruction.name, argument)
  return machine.result()


class _Machine:
  """A stack and a memo."""

  def __init__(self, resolve, refer):
    self._resolve, self._refer = resolve, refer
    self._stack: list[Any] = []
    self._memo: dict[int, Any] = {}  # A number costs what it holds, however
    # large it is.

  def result(self) -> Any:
    """What the last instruction left."""
    if len(self._stack) != 1 or self._stack[0] is _MARK:
      raise ValueError("the pickle does not end in one value.")
    return self._stack[0]

  def run(self, name: str, argument: Any) -> None:
    """One instruction."""
    if name in _FRAMING:
      return
    if name in _VALUES:
      self._stack.append(_VALUES[name])
    elif name in _ARGUMENTS:
      self._stack.append(argument)
    elif name in _TUPLES:
      self._stack.append(tuple(self._taken(_TUPLES[name])))
    elif name in _RUN:
      _RUN[name](self, argument)
    else:
      raise UnsafeFileError(f"the file has the instruction {name}.")

  def _taken(self, count: int) -> list[Any]:
    """The last values of the stack, taken from it."""
    values = self._stack[len(self._stack) - count :]
    if len(values) != count or any(value is _MARK for value in values):
      raise ValueError("an instruction finds too few values.")
    del self._stack[len(self._stack) - count :]
    return values

  def _since_mark(self) -> list[Any]:
    """The values since the last mark, which is taken, too."""
    values = []
    while (value := self._stack.pop()) is not _MARK:
      values.append(value)
    return values[::-1]

  def _put(self, number):
    self._memo[number] = self._stack[-1]

  def _global(self, names):
    module, _, name = names.partition(" ")
    self._stack.append(self._resolve(module, name))

  def _stack_global(self, _):
    module, name = self._taken(2)
    if not (isinstance(module, str) and isinstance(name, str)):
      raise UnsafeFileError("the file names something by no text.")
    self._stack.append(self._resolve(module, name))

  def _call(self, _):
    function, arguments = self._taken(2)
    if not isinstance(function, Function) or not isinstance(arguments, tuple):
      raise UnsafeFileError("the file calls something that is no function.")
    self._stack.append(function(*arguments))

  def _build(self, _):
    target, state = self._taken(2)
    if not hasattr(target, "take_state"):
      raise UnsafeFileError(
        "the file sets attributes of something that has none."
      )
    target.take_state(state)
    self._stack.append(target)

  def _append(self, values):
    (target,) = self._taken(1)
    if type(target) is not list:
      raise UnsafeFileError("the file appends to something that is no list.")
    target.extend(values)
    self._stack.append(target)

  def _set_items(self, values):
    (target,) = self._taken(1)
    if not isinstance(target, dict) or len(values) % 2:
      raise UnsafeFileError("the file sets items of something that is no dict.")
    for key, value in zip(values[::2], values[1::2], strict=True):
      target[checked_key(key)] = value
    self._stack.append(target)


_RUN = {
  "MARK": lambda m, _: m._stack.append(_MARK),
  "POP": lambda m, _: m._stack.pop(),
  "POP_MARK": lambda m, _: m._since_mark(),
  "EMPTY_LIST": lambda m, _: m._stack.append([]),
  "EMPTY_DICT": lambda m, _: m._stack.append({}),
  "TUPLE": lambda m, _: m._stack.append(tuple(m._since_mark())),
  "APPEND": lambda m, _: m._append(m._taken(1)),
  "APPENDS": lambda m, _: m._append(m._since_mark()),
  "SETITEM": lambda m, _: m._set_items(m._taken(2)),
  "SETITEMS": lambda m, _: m._set_items(m._since_mark()),
  "BINPUT": _Machine._put,
  "LONG_BINPUT": _Machine._put,
  "MEMOIZE": lambda m, _: m._put(len(m._memo)),
  "BINGET": lambda m, number: m._stack.append(m._memo[number]),
  "LONG_BINGET": lambda m, number: m._stack.append(m._memo[number]),
  "GLOBAL": _Machine._global,
  "STACK_GLOBAL": _Machine._stack_global,
  "REDUCE": _Machine._call,
  "NEWOBJ": _Machine._call,
  "BUILD": _Machine._build,
  "BINPERSID": lambda m, _: m._stack.append(m._refer(*m._taken(1))),
}


def checked_key(key: Any) -> str | int:
  """The key of a dict; hashing anything nested could exhaust the stack.

  Raises:
    UnsafeFileError: it is neither a text nor a whole number.
  """
  if not isinstance(key, str | int | np.integer):
    raise UnsafeFileError("a dict of the file has a key that is no text.")
  return key
