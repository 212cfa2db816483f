"""One POST of bytes to someone else's server, and whatever comes back of it.

  data = post(address, content, headers=..., timeout_s=60.0, total_s=300.0,
              secret=key)

A server may be slow, drip, break off, send too much, point elsewhere or quote
the key: all of it ends in bytes or in RequestFailed, within a time and a size.
"""

import asyncio
import base64
import functools
import importlib
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import Any

_MOST_BYTES = 16 << 20
"""A longer body is not read to its end."""

_LEAST_SECRET = 8
"""A shorter key ("EMPTY", for a server that checks none) is no secret: struck
out, it would take words out of the answers."""


class RequestFailed(Exception):
  """No usable answer came.

  Attributes:
    reason: one line, without any key.
    again: whether the same request may succeed later.
    wait_s: what the server asks to wait, or None.
  """

  def __init__(self, reason: str, *, again: bool, wait_s: float | None = None):
    """Keeps the parts."""
    super().__init__(reason)
    self.reason, self.again, self.wait_s = reason, again, wait_s


def post(
  address: str,
  content: bytes,
  *,
  headers: Mapping[str, str],
  timeout_s: float,
  total_s: float,
  secret: str,
) -> bytes:
  """The body of the answer, read as it came; no redirect is followed.

  Args:
    address: http or https.
    content: JSON.
    headers: sent beside the usual ones.
    timeout_s: without any byte.
    total_s: of everything.
    secret: struck out of what went wrong.

  Raises:
    RequestFailed: no body of a status 2xx came whole.
    ImportError: httpx is not installed.
  """
  httpx = require_httpx()
  try:
    status, wait_s, data = asyncio.run(
      _exchange(httpx, address, content, headers, timeout_s, total_s)
    )
  except TimeoutError:
    raise RequestFailed(
      f"no whole answer within {total_s:g} s", again=True
    ) from None
  except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
    raise RequestFailed(
      struck_out(f"{type(error).__name__}: {error}", secret), again=True
    ) from None
  if 300 <= status < 400:
    raise RequestFailed(
      f"status {status}: the server points elsewhere, where nothing is sent;"
      " name the right address",
      again=False,
    )
  if not 200 <= status < 300:
    # Struck out of the whole before it is cut: no part of a key is left.
    said = struck_out(data.decode("utf-8", "replace"), secret)
    raise RequestFailed(
      f"status {status}: {' '.join(said.split())[:200]}",
      again=status in (408, 429) or status >= 500,
      wait_s=wait_s,
    )
  return data


async def _exchange(httpx, address, content, headers, timeout_s, total_s):
  """Status, the wait that is asked for, and the body."""
  headers = {
    "Content-Type": "application/json",
    "Accept-Encoding": "identity",  # Nothing to inflate.
    **headers,
  }
  async with (
    asyncio.timeout(total_s),
    httpx.AsyncClient(
      timeout=timeout_s, follow_redirects=False, verify=_trusted()
    ) as client,
    client.stream(
      "POST", address, content=content, headers=headers
    ) as response,
  ):
    if response.headers.get("Content-Encoding", "identity") != "identity":
      raise RequestFailed("a compressed answer was not asked for", again=False)
    data = bytearray()
    async for part in response.aiter_raw():
      data += part
      if len(data) > _MOST_BYTES:
        raise RequestFailed("the answer is larger than 16 MiB", again=False)
    wait_s = _seconds(response.headers.get("Retry-After"))
    return response.status_code, wait_s, bytes(data)


def struck_out(text: str, secret: str) -> str:
  """The text as UTF-8 can hold it, with the secret struck out."""
  text = text.encode("utf-8", "replace").decode()
  if len(secret) < _LEAST_SECRET:
    return text
  for form in (
    secret,
    urllib.parse.quote(secret, safe=""),
    base64.b64encode(secret.encode()).decode(),
  ):
    text = text.replace(form, "***")
  return text


def require_httpx() -> Any:
  """The package, or one sentence on how to get it."""
  try:
    return importlib.import_module("httpx")
  except ImportError as error:
    raise ImportError(
      "Asking a server needs httpx: pip install 'visual_memory[vlm]'."
    ) from error


@functools.cache
def _trusted() -> ssl.SSLContext:
  """Whom TLS trusts; read from disk once."""
  return require_httpx().create_ssl_context()


def _seconds(value: str | None) -> float | None:
  try:
    seconds = float(value)
  except (TypeError, ValueError):  # Absent, or a date.
    return None
  return seconds if seconds > 0 else None  # NaN neither.
