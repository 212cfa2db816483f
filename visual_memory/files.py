"""Files that are whole or absent: the one way that they come to be.

  with files.replacing("rows.npz") as temporary:
    np.savez(temporary, rows=rows)      # rows.npz appears when the block ends

A killed run never leaves half a file under a name that is read. What is read
here may come from a stranger: it is bounded, and refused in one sentence.
"""

import contextlib
import fcntl
import json
import math
import os
import pathlib
import secrets
import stat
import zipfile
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

_MOST_RATIO = 200
"""What an .npz may unpack to, relative to its size: embeddings and pictures
gain little by compression, labels and masks more."""

_LEAST_BYTES = 1 << 28

_HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}

_KEPT_OF_NAME = 40  # Characters, so that a long name stays a legal one.


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """A path to write to, whose file takes its place at the end of the block.

  It lies in the same folder (made if absent), begins with a dot and has the
  same suffix. At the end the file is synced and renamed, and the folder synced:
  a reader, also one after a power cut, sees the old file or the new one. After
  an error, the old file is as it was and the new one is gone.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  name = f".{path.stem[:_KEPT_OF_NAME]}.{os.getpid()}-{secrets.token_hex(4)}"
  temporary = path.with_name(name + path.suffix)
  try:
    yield temporary
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)
  finally:
    temporary.unlink(missing_ok=True)


def _sync(path: pathlib.Path) -> None:
  """Makes a file, or the names in a folder, durable."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


@contextlib.contextmanager
def locked(folder: str | os.PathLike, *, wait: bool) -> Iterator[None]:
  """Held by one block at a time, of any thread or process of this machine.

  On a file system without locks it holds nobody back.

  Args:
    folder: what they agree on; it must exist.
    wait: until the other block ends.

  Raises:
    BlockingIOError: another block holds it, and wait is False.
  """
  descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
  try:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
      raise
    except OSError:
      pass  # An edit of the store itself says that there are none.
    yield
  finally:
    os.close(descriptor)  # Ends the lock.


def write_text(path: str | os.PathLike, text: str) -> None:
  """Replaces the file at path by this text in one step.

  UTF-8; what UTF-8 cannot hold (a file name in some other encoding) becomes a
  question mark.
  """
  with replacing(path) as temporary:
    temporary.write_bytes(text.encode("utf-8", "replace"))


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Replaces the file at path by this value, as `plain` understands it."""
  write_text(path, json.dumps(plain(value), indent=2) + "\n")


def read_json(
  path: str | os.PathLike,
  *,
  most_bytes: int = 1 << 30,
  remedy: str = "move it away and run again",
) -> Any:
  """The value of a JSON file, whoever wrote it.

  Args:
    path: the file.
    most_bytes: a longer one is refused before it is read.
    remedy: ends the sentence of the error.

  Raises:
    ValueError: the file is not JSON, is nested deeper than anything sensible,
      or is too long; names it.
    OSError: it cannot be read.
  """
  try:
    with open(path, "rb") as file:
      data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
      raise ValueError(f"longer than {most_bytes:,} bytes")
    return json.loads(data.decode("utf-8"))
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f"{path} is not valid JSON ({str(error)[:200]}): {remedy}."
    ) from error


def erase(path: str | os.PathLike) -> None:
  """Overwrites a file's bytes and deletes it.

  Of a link, symbolic or hard, only the name goes: the bytes are someone's.
  """
  if stat.S_ISREG(os.lstat(path).st_mode):
    file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
      status = os.fstat(file)
      if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        os.pwrite(file, b"\0" * status.st_size, 0)
        os.fsync(file)
    finally:
      os.close(file)
  os.unlink(path)


def is_erased(path: str | os.PathLike) -> bool:
  """Whether a file is what `erase` leaves when its process is killed: zeros."""
  with open(path, "rb") as file:
    return not file.read().strip(b"\0")


def read_arrays(
  path: str | os.PathLike, names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
  """The arrays of an .npz file, whoever wrote it; no pickle is read.

  Every array must be as long as it declares, before memory is reserved for it,
  and all of them may be `_MOST_RATIO` times the file's size (or 256 MiB).

  Args:
    path: the file.
    names: those to read, if they are there; by default all.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: not such a file, damaged, or too large; names it.
  """
  with open(path, "rb") as file:  # What fails from here on is the content.
    try:
      return _arrays(file, names)
    except Exception as error:  # A damaged file can break a parser anywhere.
      raise ValueError(
        f"{path} is no file of arrays (.npz), or is damaged: {reason(error)}."
      ) from error


def formatted_arrays(
  path: str | os.PathLike, names: Collection[str], form: object
) -> dict[str, np.ndarray]:
  """The arrays of a file of ours, whose array "format" says what is in it.

  Args:
    path: see `read_arrays`.
    names: of the arrays that it must have.
    form: its format, as `tolist` gives it.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: as `read_arrays`; another format, or an array is missing.
  """
  content = read_arrays(path)
  if missing := [name for name in names if name not in content]:
    raise ValueError(f"it has no {missing[0]}")
  if content["format"].tolist() != form:
    raise ValueError(f"its format is {content['format']}, not {form}")
  return content


def _arrays(file, names) -> dict[str, np.ndarray]:
  left = max(_MOST_RATIO * os.fstat(file.fileno()).st_size, _LEAST_BYTES)
  with zipfile.ZipFile(file) as archive:
    entries = archive.infolist()
    found = {entry.filename.removesuffix(".npy"): entry for entry in entries}
    if len(found) < len(entries):
      raise ValueError("two arrays have one name")
    if sum(entry.file_size for entry in entries) > left:
      raise ValueError(f"it unpacks to more than {left:,} bytes")
    return {
      name: _array(archive, entry)
      for name, entry in found.items()
      if names is None or name in names
    }


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
  """One array, after its header was held against its length."""
  with archive.open(entry) as file:
    try:
      header = _HEADERS[np.lib.format.read_magic(file)]
      shape, by_columns, dtype = header(file)
      count = math.prod(shape)
    except Exception:  # NumPy's own sentence advises to trust the file.
      raise ValueError(f"{entry.filename} has no readable header") from None
    if dtype.hasobject or min(shape, default=0) < 0:
      raise ValueError(f"{entry.filename} holds Python objects, no numbers")
    if file.tell() + count * dtype.itemsize != entry.file_size:
      raise ValueError(f"{entry.filename} is not as long as it declares")
    # A bytearray, so that the array may be written to.
    flat = np.frombuffer(bytearray(file.read()), dtype, count)
  return flat.reshape(shape, order="F" if by_columns else "C")


def reason(error: Exception) -> str:
  """What a parser says, in one line that is short enough for a sentence."""
  said = getattr(error, "strerror", None) or str(error)
  return " ".join(said.split())[:200].rstrip(".") or type(error).__name__


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


def bytes_below(path: str | os.PathLike) -> int:
  """The size of a file, or of all files below a directory."""
  path = pathlib.Path(path)
  files = [path] if path.is_file() else path.rglob("*")
  return sum(file.stat().st_size for file in files if file.is_file())
