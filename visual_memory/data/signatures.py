"""What a file is by its first bytes, said to whoever took it for a picture."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1",
                b"msf1")  # fmt: skip
NEEDS_HEIF = "it is HEIC: pip install 'visual_memory[heif]' reads it"
_HEAD = 1024
_MAGIC = {
  b"%PDF": "it is a PDF",
  b"PK\x03\x04": "it is a .zip archive",
  b"Rar!": "it is a .rar archive",
  b"7z\xbc\xaf": "it is a .7z archive",
  b"\x1f\x8b": "it is compressed by gzip",
  b"\x1aE\xdf\xa3": "it is a video",
  b"8BPS": "it is a Photoshop file: export it as PNG or TIFF",
  b"%!PS": "it is PostScript",
  b"II*\0": "it is a TIFF of a kind that cannot be read",
  b"MM\0*": "it is a TIFF of a kind that cannot be read",
  b"II+\0": "it is a BigTIFF, which cannot be read",
  b"\0asm": "it is a program",
  b"\x7fELF": "it is a program",
  b"version https://git-lfs": "it is a pointer of git-lfs, not the file",
}
_MARKUP = {
  b"<!doctype html": "it is HTML",
  b"<html": "it is HTML",
  b"<svg": "it is SVG, drawn and not photographed",
  b"<?xml": "it is XML",
}


def is_heif(data: bytes) -> bool:
  """Whether a file says that it is HEIC or HEIF (and not AVIF)."""
  brands = data[8:12], *(data[i : i + 4] for i in range(16, 40, 4))
  return data[4:8] == b"ftyp" and data[8:12] != b"avif" and (
    brands[0] in _HEIF_BRANDS and b"avif" not in brands
  )  # fmt: skip


def described(data: bytes) -> str:
  """Why a file that no decoder knows is no picture."""
  if not data:
    return "it is empty"
  for magic, reason in _MAGIC.items():
    if data.startswith(magic):
      return reason
  head = data[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
  for start, reason in _MARKUP.items():
    if head.startswith(start):
      return "it is SVG" if b"<svg" in head else reason
  if data[4:8] == b"ftyp" or (data[:4] == b"RIFF" and data[8:12] == b"AVI "):
    return "it is a video"
  if not data[:_HEAD].strip(b"\0"):
    return "it is nothing but zeros"
  try:
    text = data[:_HEAD].decode("utf-8")
  except UnicodeDecodeError:
    return "it is of no format that can be read"
  printable = all(char.isprintable() or char in "\r\n\t" for char in text)
  return "it is text" if printable else "it is of no format that can be read"
