"""Where the published weights are, and a download that is done once.

  path = fetch("clip_vitb32")

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
    sha256: as its authors state it, or None if they do not.
  """

  url: str
  sha256: str | None = None


def _dinov2(width: str, *, registers: bool) -> Published:
  name = f"dinov2_vit{width}14"
  file = f"{name}_reg4_pretrain.pth" if registers else f"{name}_pretrain.pth"
  return Published(url=f"https://dl.fbaipublicfiles.com/dinov2/{name}/{file}")


def _dino(name: str) -> Published:
  folder = f"dino_{name}_pretrain"
  return Published(
    url=f"https://dl.fbaipublicfiles.com/dino/{folder}/{folder}.pth"
  )


def _clip(file: str, sha256: str) -> Published:
  root = "https://openaipublic.azureedge.net/clip/models"
  return Published(url=f"{root}/{sha256}/{file}", sha256=sha256)


PUBLISHED: dict[str, Published] = {
  **{f"dinov2_vit{w}14": _dinov2(w, registers=False) for w in "sblg"},
  **{f"dinov2_vit{w}14_reg": _dinov2(w, registers=True) for w in "sblg"},
  "dino_vits8": _dino("deitsmall8"),
  "dino_vits16": _dino("deitsmall16"),
  "dino_vitb8": _dino("vitbase8"),
  "dino_vitb16": _dino("vitbase16"),
  "clip_vitb32": _clip(
    "ViT-B-32.pt",
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
  ),
  "clip_vitb16": _clip(
    "ViT-B-16.pt",
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
  ),
  "clip_vitl14": _clip(
    "ViT-L-14.pt",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
  ),
  "clip_vitl14_336": _clip(
    "ViT-L-14-336px.pt",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
  ),
}
"""The published weights of every image tower of `vit.CONFIGS`."""


def fetch(name: str, *, published: Published | None = None) -> pathlib.Path:
  """The local path of a published checkpoint, downloaded if not yet here.

  Args:
    name: a key of PUBLISHED.
    published: another address for it (a mirror), or None.

  Raises:
    ValueError: unknown name, or a file whose sha256 is not the right one.
    OSError: the address cannot be reached, or the download broke off.
  """
  if published is None:
    if name not in PUBLISHED:
      known = ", ".join(PUBLISHED)
      raise ValueError(
        f"No weights are published for {name!r}; known: {known}."
      )
    published = PUBLISHED[name]
  path = cache_dir() / f"{name}{pathlib.PurePosixPath(published.url).suffix}"
  note = path.with_suffix(f"{path.suffix}.sha256")
  if not path.exists():
    note.unlink(missing_ok=True)
    found = _download(published, path)
  else:
    found = _sha256(path)
  noted = note.read_text().strip() if note.exists() else None
  _check_sha256(path, found, published.sha256 or noted)
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
  if expected is not None and found != expected:
    raise ValueError(
      f"{place} has sha256 {found}, expected {expected}: remove any copy of it"
      " and fetch it again."
    )
