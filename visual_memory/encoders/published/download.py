"""A download that is done once, and checked.

  path = fetch(Published(url="https://..."), name="clip_vitb32")

Files are kept in $VISUAL_MEMORY_CACHE, or else ~/.cache/visual_memory. Where
the authors publish a sha256 it is checked; where they do not, the first
download's is written beside the file, and the file is checked against it from
then on. Licences are listed in third_party/weights.md.
"""

import dataclasses
import hashlib
import http.client
import os
import pathlib
import urllib.request
from typing import BinaryIO

from visual_memory import files

_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
  """One file of published weights.

  Attributes:
    url: where its authors keep it.
    sha256: as its authors state it, whole or its first digits, or None if they
      do not.
  """

  url: str
  sha256: str | None = None


def fetch(published: Published, *, name: str) -> pathlib.Path:
  """The local path of a published file, downloaded if not yet here.

  Args:
    published: where it is.
    name: what to call it in the cache.

  Raises:
    ValueError: the file's sha256 is not the right one.
    OSError: the address cannot be reached, or the download broke off.
  """
  path = cache_dir() / f"{name}{pathlib.PurePosixPath(published.url).suffix}"
  note = path.with_suffix(f"{path.suffix}.sha256")
  if not path.exists():
    note.unlink(missing_ok=True)
    found = _download(published, path)
  else:
    found = _sha256(path)
  noted = note.read_text().strip() if note.exists() else None
  _check_sha256(path, found, published.sha256)
  _check_sha256(path, found, noted)
  note.write_text(f"{found}\n")
  return path


def cache_dir() -> pathlib.Path:
  """Where fetched files are kept."""
  configured = os.environ.get("VISUAL_MEMORY_CACHE")
  return pathlib.Path(configured or "~/.cache/visual_memory").expanduser()


def _download(published: Published, path: pathlib.Path) -> str:
  """Puts a file in place once it is complete and right; returns its sha256."""
  try:
    with files.replacing(path) as partial, open(partial, "wb") as file:
      found = _receive(published.url, file)
      _check_sha256(published.url, found, published.sha256)
  except (OSError, http.client.HTTPException) as error:
    raise OSError(
      f"{published.url} could not be downloaded ({error}). Download it where"
      " there is a network, and pass the file's path as weights."
    ) from error
  return found


def _receive(url: str, file: BinaryIO) -> str:
  """Writes what is at a URL to an open file; returns its sha256."""
  digest, received = hashlib.sha256(), 0
  with urllib.request.urlopen(url, timeout=60) as response:
    promised = response.headers.get("Content-Length")
    while chunk := response.read(_CHUNK_BYTES):
      file.write(chunk)
      digest.update(chunk)
      received += len(chunk)
  if promised is not None and received != int(promised):
    raise OSError(f"{received} of {promised} bytes arrived")
  return digest.hexdigest()


def _sha256(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _check_sha256(
  place: str | pathlib.Path, found: str, expected: str | None
) -> None:
  if expected is not None and not found.startswith(expected):
    raise ValueError(
      f"{place} has sha256 {found}, expected {expected}: remove any copy of it"
      " and fetch it again."
    )
