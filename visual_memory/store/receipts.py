"""Receipts: what was removed from a store, when, and what was checked.

A receipt names removed ids by salted hash only, gives the digest of the
manifest before and after, and the digest of the receipt before it, so that a
receipt that is taken out or changed is noticed. With an Ed25519 key it is also
signed.

Whoever can write the manifest can also end the trail earlier: that the last
receipts are still there, only a digest that was kept elsewhere can show. Keep
that of a receipt (`receipt.digest`; `visual-memory remove` and `info` print
it), and ask `store.verify(kept=digest)`.

  receipt = store.remove(["cat/3.jpg"], key_file="key.pem")
  receipt.names("cat/3.jpg")                    # True
  receipt.check_signature("public.pem")
"""

import dataclasses
import datetime
import hashlib
import html
import json
import os
from collections.abc import Sequence

from visual_memory.checks import Ids, as_ids
from visual_memory.store.storage.keys import RECEIPTS as KEY
from visual_memory.store.storage.manifest import Manifest, Trail
from visual_memory.store.storage.place import Files

CHECKS = (
  "embeddings were overwritten with zeros and read back",
  "ids and metadata were overwritten with zeros and read back",
  "rows were marked empty in every column",
  "files kept in derived/ were overwritten and deleted",
  "all changed files were flushed to the disk",
  "the journal was overwritten with zeros; it never held what was removed",
)
"""What a removal does before it returns; an interrupted one is finished, in
this order, before the store can be used again."""

_NEEDS = (
  "Signing receipts needs the `cryptography` package: install it with"
  " pip install 'visual_memory[signing]'."
)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Receipt:
  """A removal that was made durable.

  Attributes:
    store_id: the store.
    salt: random bytes, hexadecimal, that ids are hashed with.
    generation: the store's generation after the removal.
    time: when, UTC, ISO 8601.
    removed: salted hashes of the ids that were removed.
    next_serial: rows added later have this serial or a larger one.
    manifest_before: `content_digest` of the manifest before the removal.
    manifest_after: the same after it.
    previous: digest of the store's receipt before this one ("" for the first).
    known_as: salted hashes of further names by which what was removed may be
      recognized, such as the contents of pictures.
    checks: what was done and checked before the removal returned.
    public_key: the signer's raw Ed25519 key, hexadecimal, or "".
    signature: of everything above, hexadecimal, or "".
  """

  store_id: str
  salt: str
  generation: int
  time: str
  removed: tuple[str, ...]
  next_serial: int
  manifest_before: str
  manifest_after: str
  previous: str
  known_as: tuple[str, ...] = ()
  checks: tuple[str, ...] = CHECKS
  public_key: str = ""
  signature: str = ""

  @property
  def digest(self) -> str:
    """SHA-256 of the receipt, hexadecimal."""
    return hashlib.sha256(self.to_json().encode()).hexdigest()

  def to_json(self) -> str:
    """One line of JSON."""
    fields = {k: v for k, v in vars(self).items() if v or k != "known_as"}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))

  def names(self, row_id: str) -> bool:
    """Whether this id was among those removed."""
    as_ids([row_id])
    return hash_id(self.salt, row_id) in self.removed

  def __repr__(self) -> str:
    """What it says, in short."""
    signed = "signed" if self.signature else "not signed"
    return (
      f"Receipt({len(self.removed):,} removed {self.time}, generation"
      f" {self.generation:,}, {signed}, digest {self.digest[:16]})"
    )

  def _repr_html_(self) -> str:
    """The same as a small table, in the page's own colors."""
    rows = {
      "removed": f"{len(self.removed):,} rows, named by salted hash",
      "when": self.time,
      "store": f"{self.store_id}, generation {self.generation:,}",
      "signature": self.public_key or "not signed",
      "digest": self.digest,
      "checked": "<br>".join(map(html.escape, self.checks)),
    }
    cell = 'style="text-align:left;padding:2px 12px 2px 0;vertical-align:top"'
    body = "".join(
      f"<tr><th {cell}>{name}</th><td {cell}>"
      f"{value if name == 'checked' else html.escape(value)}</td></tr>"
      for name, value in rows.items()
    )
    return f'<table style="color:inherit;background:none">{body}</table>'

  def check_signature(self, public_key_file: str | os.PathLike) -> None:
    """Checks that the owner of an Ed25519 key signed this receipt.

    Args:
      public_key_file: the public key, PEM.

    Raises:
      ValueError: no signature, another key, or a changed receipt.
    """
    serialization, ed25519, _ = _cryptography()
    with open(public_key_file, "rb") as file:
      key = serialization.load_pem_public_key(file.read())
    if not isinstance(key, ed25519.Ed25519PublicKey):
      raise ValueError(f"{public_key_file} holds no Ed25519 key.")
    if not self.signature:
      raise ValueError("The receipt is not signed.")
    self._check_signed_by(key)

  def check_own_signature(self) -> bool:
    """Whether it is signed; by whom, its `public_key` alone says.

    Raises:
      ValueError: a signature that is not by that key.
    """
    if not self.signature and not self.public_key:
      return False
    _, ed25519, _ = _cryptography()
    raw = bytes.fromhex(self.public_key)
    self._check_signed_by(ed25519.Ed25519PublicKey.from_public_bytes(raw))
    return True

  def _check_signed_by(self, key) -> None:
    _, _, InvalidSignature = _cryptography()
    try:
      key.verify(bytes.fromhex(self.signature), self._signed_bytes())
    except InvalidSignature as error:
      raise ValueError(
        "The receipt's signature is not by this key, or the receipt was"
        " changed after it was signed."
      ) from error

  def signed(self, key_file: str | os.PathLike) -> "Receipt":
    """This receipt with a signature.

    Args:
      key_file: an Ed25519 private key, PEM without password, as made by
        `openssl genpkey -algorithm ed25519`.

    Raises:
      ValueError: there is another kind of key.
    """
    key = read_key(key_file)
    public_key = key.public_key().public_bytes_raw().hex()
    unsigned = dataclasses.replace(self, public_key=public_key, signature="")
    signature = key.sign(unsigned._signed_bytes()).hex()
    return dataclasses.replace(unsigned, signature=signature)

  def _signed_bytes(self) -> bytes:
    return dataclasses.replace(self, signature="").to_json().encode()


def issue(
  before: Manifest,
  after: Manifest,
  ids: Ids,
  key_file: str | os.PathLike | None,
  known_as: Sequence[str] = (),
) -> Receipt:
  """The receipt of a removal, signed if there is a key."""
  hashes = sorted(hash_id(before.salt, row_id) for row_id in ids)
  receipt = Receipt(
    store_id=before.store_id,
    salt=before.salt,
    generation=after.generation,
    time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    removed=tuple(hashes),  # Sorted: the order of the ids tells nothing.
    next_serial=after.next_serial,
    manifest_before=before.content_digest,
    manifest_after=after.content_digest,
    previous=before.trail.last,
    known_as=tuple(sorted(hash_id(before.salt, name) for name in known_as)),
  )
  return receipt if key_file is None else receipt.signed(key_file)


def appended(trail: Trail, receipt: Receipt) -> tuple[bytes, Trail]:
  """The line that a receipt adds to the file, and the trail that it ends."""
  line = receipt.to_json().encode() + b"\n"
  return line, Trail(
    count=trail.count + 1,
    num_bytes=trail.num_bytes + len(line),
    last=receipt.digest,
  )


def read(files: Files, trail: Trail) -> list[Receipt]:
  """The receipts of a trail, oldest first.

  Raises:
    ValueError: one of them cannot be read.
  """
  data = files.read(KEY, length=trail.num_bytes)
  try:
    return [from_json(line) for line in data.decode().splitlines()]
  except ValueError as error:
    raise ValueError(
      f"{KEY}: a receipt cannot be read: {str(error)[:200]}."
    ) from error


def from_json(line: str) -> Receipt:
  """The receipt of one line of JSON.

  Raises:
    ValueError: it is no receipt.
  """
  try:
    fields = {"known_as": [], **json.loads(line)}
    for name in ("removed", "known_as", "checks"):
      if not isinstance(fields[name], list):
        raise ValueError(f"{name} is no list")
      fields[name] = tuple(fields[name])
    receipt = Receipt(**fields)
  except (TypeError, KeyError, RecursionError) as error:
    raise ValueError("it has not the fields of a receipt") from error
  texts = vars(receipt) | {"generation": "", "next_serial": ""}
  texts = [
    *texts.values(),
    *receipt.removed,
    *receipt.known_as,
    *receipt.checks,
  ]
  if not all(isinstance(value, str | tuple) for value in texts):
    raise ValueError("it holds something else than text")
  for number in (receipt.generation, receipt.next_serial):
    if type(number) is not int or number < 0:
      raise ValueError("its numbers are none")
  for value in (receipt.salt, receipt.public_key, receipt.signature):
    bytes.fromhex(value)
  return receipt


def hash_id(salt: str, row_id: str) -> str:
  """The salted hash of an id: half a SHA-256, hexadecimal."""
  data = bytes.fromhex(salt) + row_id.encode()
  return hashlib.sha256(data).hexdigest()[:32]


def read_key(key_file: str | os.PathLike):
  """The private key in a file; read before anything is removed.

  Raises:
    ValueError: it is no Ed25519 key without a password.
  """
  serialization, ed25519, _ = _cryptography()
  with open(key_file, "rb") as file:
    data = file.read()
  try:
    key = serialization.load_pem_private_key(data, password=None)
  except (ValueError, TypeError) as error:
    raise ValueError(
      f"{key_file} holds no private key without a password: make one with"
      " openssl genpkey -algorithm ed25519."
    ) from error
  if not isinstance(key, ed25519.Ed25519PrivateKey):
    raise ValueError(
      f"{key_file} holds another kind of key: make one with openssl genpkey"
      " -algorithm ed25519."
    )
  return key


def _cryptography():
  """The parts of `cryptography` that are used here."""
  try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519
  except ImportError as error:
    raise ImportError(_NEEDS) from error
  return serialization, ed25519, InvalidSignature
