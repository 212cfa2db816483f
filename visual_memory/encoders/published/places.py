"""Where the files of a checkpoint are: a file, a directory, or on the hub.

  place = find_place("facebook/dinov2-small")     # or "hf-hub:timm/...", a path
  place.json("config.json")                       # a dict, or None
  place.weights()                                 # the files with the tensors

A file of weights that is named as in a repository is described by the
config.json beside it; one of another name stands for itself.

  path = fetch(Published(url="https://..."), name="clip_vitb32")

is downloaded once: files are kept in $VISUAL_MEMORY_CACHE, or else
~/.cache/visual_memory. Where the authors publish a sha256 it is checked; where
they do not, the first download's is written beside the file, and the file is
checked against it from then on. Licences: third_party/weights.md.
"""

import dataclasses
import hashlib
import http.client
import importlib
import json
import os
import pathlib
import re
import socket
import urllib.request
from collections.abc import Callable
from typing import Any, BinaryIO

from visual_memory import files
from visual_memory.checks import shown

_HUB_ID = re.compile(r"(?:hf[-_]hub:)?([\w.-]+/[\w.-]+)")
_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors", ".npz")
"""Of a mistyped file, for which the hub need not be asked."""

HUGGING_FACE = ("model.safetensors", "pytorch_model.bin")
OPEN_CLIP = (
  "open_clip_model.safetensors",
  "open_clip_pytorch_model.safetensors",
  "open_clip_pytorch_model.bin",
)
"""What a repository calls its weights, the better first."""

_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Place:
  """The files of one checkpoint.

  Attributes:
    name: what the user called it.
    find: the local path of one of its files by name, or None; it may download.
    file: the weights, where they are one file that was named.
    hub: the repository, if it is one on the hub.
    names: what the weights may be called, the best first.
  """

  name: str
  find: Callable[[str], pathlib.Path | None]
  file: pathlib.Path | None = None
  hub: str | None = None
  names: tuple[str, ...] = (*HUGGING_FACE, *OPEN_CLIP)

  def json(self, file: str) -> dict[str, Any] | None:
    """The content of a JSON file, or None if there is no such file.

    Raises:
      ValueError: the file is damaged.
    """
    path = self.find(file)
    if path is None:
      return None
    try:
      content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
      raise ValueError(f"{path} is damaged; download it again.") from error
    if not isinstance(content, dict):
      raise ValueError(f"{path} is damaged: it holds no object.")
    return content

  def weights(self) -> list[pathlib.Path]:
    """The files with the tensors: one, or the shards that an index lists.

    Raises:
      ValueError: there are none, or an index is damaged.
    """
    if self.file is not None:
      return [self.file]
    for name in self.names:
      if path := self.find(name):
        return [path]
      index = self.json(f"{name}.index.json")
      if index is not None:
        return [self._shard(shard, name) for shard in _shards(index, name)]
    raise ValueError(
      f"{self.name} holds no weights: neither {' nor '.join(self.names)}, nor a"
      " saved checkpoint. Pass the weights' file itself."
    )

  def _shard(self, shard: str, name: str) -> pathlib.Path:
    path = self.find(shard)
    if path is None:
      raise ValueError(
        f"{self.name} lacks {shard}, which {name}.index.json lists."
      )
    return path


def find_place(weights: str | os.PathLike) -> Place:
  """Where these weights are.

  Args:
    weights: a file, a directory, or a repository of the Hugging Face hub
      ("owner/name", also with "hf-hub:" before it).

  Raises:
    FileNotFoundError: it is none of these.
  """
  path = pathlib.Path(weights)
  if path.is_dir():
    return Place(str(weights), lambda name: _existing(path / name))
  if path.is_file():
    named = path.name in (*HUGGING_FACE, *OPEN_CLIP)
    beside = (lambda name: _existing(path.parent / name)) if named else _nothing
    return Place(str(weights), beside, file=path)
  match = _HUB_ID.fullmatch(str(weights))
  if match and path.suffix not in _SUFFIXES:
    repository = match[1]
    return Place(repository, lambda f: _hub_file(repository, f), hub=repository)
  raise FileNotFoundError(f"There is no file or directory {weights}.")


def is_repository(name: str) -> bool:
  """Whether this names a directory here, or could name one on the hub."""
  is_hub = bool(_HUB_ID.fullmatch(name))
  return is_hub or (bool(name) and pathlib.Path(name).is_dir())


def _nothing(name: str) -> None:
  del name


def _existing(path: pathlib.Path) -> pathlib.Path | None:
  return path if path.is_file() else None


def _shards(index: dict[str, Any], name: str) -> list[str]:
  """The files that an index says the tensors are in."""
  try:
    shards = sorted(set(index["weight_map"].values()))
  except (KeyError, AttributeError, TypeError) as error:
    raise ValueError(
      f"{name}.index.json is damaged; download it again."
    ) from error
  for shard in shards:
    if not isinstance(shard, str) or "/" in shard or "\\" in shard:
      raise ValueError(f"{name}.index.json points outside: {shown(shard)}.")
  return shards


def _hub_file(repository: str, name: str) -> pathlib.Path | None:
  """A file of a repository, from the hub's own cache or downloaded."""
  hub = extra("huggingface_hub")
  kept = hub.try_to_load_from_cache(repository, name)
  if isinstance(kept, str):
    return pathlib.Path(kept)
  if kept is not None:
    return None  # Known not to be there.
  _check_reachable(repository, extra("huggingface_hub.constants").ENDPOINT)
  try:
    return pathlib.Path(hub.hf_hub_download(repository, name))
  except (OSError, hub.errors.HfHubHTTPError) as error:
    offline = isinstance(error, hub.errors.LocalEntryNotFoundError)
    if isinstance(error, hub.errors.EntryNotFoundError) and not offline:
      return None
    raise FileNotFoundError(
      f"There is no file or directory {repository!r}, and the repository of"
      f" that name could not be fetched from the Hugging Face hub: {error}"
    ) from error


def _check_reachable(repository: str, endpoint: str) -> None:
  """Raises at once if there is no network, where the hub's client retries."""
  address = urllib.request.urlparse(endpoint)
  if os.environ.get("HF_HUB_OFFLINE") or urllib.request.getproxies():
    return  # The client says so itself, or the way there is a proxy's.
  port = address.port or (443 if address.scheme == "https" else 80)
  try:
    socket.create_connection((address.hostname, port), _SECONDS).close()
  except OSError as error:
    raise FileNotFoundError(
      f"There is no file or directory {repository!r} here, and no network to"
      f" fetch the repository of that name from {address.hostname} ({error})."
      " Download it where there is one, and pass the directory as weights."
    ) from error


def extra(package: str) -> Any:
  """An optional package, or one sentence on how to get it."""
  try:
    return importlib.import_module(package)
  except ImportError as error:
    raise ImportError(
      f"This format needs {package}: pip install 'visual_memory[pretrained]'."
    ) from error


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
