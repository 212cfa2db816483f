"""Two ways to ask a vision-language model over HTTP: Gemini's, and OpenAI's.

  client = make_client("openai", url="http://localhost:8000/v1", model="m", ...)
  reply = client.send(parts, parameters={"temperature": 0.0})

Each needs one POST of JSON and one answer of JSON, which the standard library
does. The vendors' own packages would add retries of their own, which a budget
cannot see, and several versions to follow. OpenAI's is also spoken by servers
of open models (vLLM, SGLang, llama.cpp, Ollama).

A key is read from an environment variable, sent in a header, and nowhere else:
not in an address, a message, a recording or a report.
"""

import base64
import dataclasses
import http.client
import io
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

_MOST_BYTES = 16 << 20
"""A longer body is not read to its end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
  """A model's answer and what the server counted."""

  text: str
  input_tokens: int
  output_tokens: int


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Client:
  """One server and model; make one with `make_client`.

  Attributes:
    api: "gemini" or "openai".
    url: of the server, with the API's version in it.
    model: the server's name for it.
    timeout_s: of a request.
    image_side: larger images are shrunk to this side before they are sent.
  """

  api: str
  url: str
  model: str
  timeout_s: float
  image_side: int
  _key: str = dataclasses.field(repr=False, default="")

  def send(
    self, parts: Sequence[str | np.ndarray], parameters: Mapping[str, Any]
  ) -> Reply:
    """The answer to texts and images.

    Raises:
      RequestFailed: says why, and whether to try again.
    """
    address, headers, body = _REQUESTS[self.api](self, parts, parameters)
    data = self._post(address, headers, body)
    try:
      return _REPLIES[self.api](json.loads(data))
    except (
      ValueError,
      KeyError,
      IndexError,
      TypeError,
      AttributeError,
    ) as error:
      raise RequestFailed(
        f"not what the {self.api} API answers: {type(error).__name__}",
        again=True,
      ) from None

  def _post(self, address, headers, body) -> bytes:
    request = urllib.request.Request(
      address,
      data=json.dumps(body).encode(),
      headers={"Content-Type": "application/json", **headers},
    )
    try:
      with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
        data = response.read(_MOST_BYTES + 1)
        # A body cut short is read without complaint when read up to a limit.
        if response.length:
          raise RequestFailed("the answer was cut off", again=True)
    except urllib.error.HTTPError as error:
      raise RequestFailed(
        self._without_key(f"status {error.code}: {_start(error)}"),
        again=error.code == 429 or error.code >= 500,
        wait_s=_seconds(error.headers.get("Retry-After")),
      ) from None
    except (OSError, http.client.HTTPException) as error:
      reason = getattr(error, "reason", error)
      raise RequestFailed(
        self._without_key(f"{type(error).__name__}: {reason}"), again=True
      ) from None
    if len(data) > _MOST_BYTES:
      raise RequestFailed("the answer is larger than 16 MiB", again=False)
    return data

  def _without_key(self, text: str) -> str:
    return text.replace(self._key, "***") if self._key else text


def make_client(
  api: str,
  *,
  url: str,
  model: str,
  key_variable: str,
  timeout_s: float,
  image_side: int,
) -> Client:
  """A client, with its key from the environment.

  Args:
    api: "gemini" or "openai".
    url: of the server; the vendor's own if empty.
    model: the server's name for it.
    key_variable: the environment variable that holds the key; empty for a
      server that needs none.
    timeout_s: of a request.
    image_side: larger images are shrunk to this side before they are sent.

  Raises:
    ValueError: an unknown API, no model, or no key; one sentence.
  """
  if api not in URLS:
    raise ValueError(f"There is no API {api!r}; there are: {', '.join(URLS)}.")
  if not model:
    raise ValueError("Name the model to ask, as the server calls it.")
  key = os.environ.get(key_variable, "") if key_variable else ""
  if key_variable and not key:
    raise ValueError(
      f"There is no API key: set the environment variable {key_variable}, or"
      " replay recorded answers (offline=True), which needs none."
    )
  return Client(
    api=api,
    url=(url or URLS[api]).rstrip("/"),
    model=model,
    timeout_s=timeout_s,
    image_side=image_side,
    _key=key,
  )


def png(image: np.ndarray, *, side: int) -> bytes:
  """An image as PNG, its long side at most `side`."""
  picture = Image.fromarray(image)
  if max(picture.size) > side:
    picture.thumbnail((side, side), Image.Resampling.BICUBIC)
  buffer = io.BytesIO()
  picture.save(buffer, "PNG")
  return buffer.getvalue()


def _gemini_request(client, parts, parameters):
  content = [
    {"text": part}
    if isinstance(part, str)
    else {
      "inline_data": {"mime_type": "image/png", "data": _base64(part, client)}
    }
    for part in parts
  ]
  body = {
    "contents": [{"role": "user", "parts": content}],
    "generationConfig": dict(parameters),
  }
  address = f"{client.url}/models/{client.model}:generateContent"
  return address, {"x-goog-api-key": client._key}, body


def _gemini_reply(values) -> Reply:
  parts = values["candidates"][0]["content"].get("parts", [])
  usage = values.get("usageMetadata", {})
  return Reply(
    text="".join(part.get("text", "") for part in parts),
    input_tokens=int(usage.get("promptTokenCount", 0)),
    output_tokens=int(usage.get("candidatesTokenCount", 0)),
  )


def _openai_request(client, parts, parameters):
  content = [
    {"type": "text", "text": part}
    if isinstance(part, str)
    else {
      "type": "image_url",
      "image_url": {"url": "data:image/png;base64," + _base64(part, client)},
    }
    for part in parts
  ]
  body = {
    "model": client.model,
    "messages": [{"role": "user", "content": content}],
    **parameters,
  }
  headers = {"Authorization": f"Bearer {client._key}"} if client._key else {}
  return f"{client.url}/chat/completions", headers, body


def _openai_reply(values) -> Reply:
  usage = values.get("usage") or {}
  text = values["choices"][0]["message"]["content"]
  if not isinstance(text, str | None):
    raise TypeError("content")
  return Reply(
    text=text or "",
    input_tokens=int(usage.get("prompt_tokens", 0)),
    output_tokens=int(usage.get("completion_tokens", 0)),
  )


def _base64(image, client) -> str:
  return base64.b64encode(png(image, side=client.image_side)).decode()


def _start(error) -> str:
  """The first line of an error's body."""
  try:
    text = error.read(2000).decode("utf-8", "replace")
  except (OSError, http.client.HTTPException):
    return ""
  return " ".join(text.split())[:200]


def _seconds(value: str | None) -> float | None:
  try:
    return max(0.0, float(value))
  except (TypeError, ValueError):  # Absent, or a date.
    return None


URLS = {
  "gemini": "https://generativelanguage.googleapis.com/v1beta",
  "openai": "https://api.openai.com/v1",
}
"""Where the vendors' own servers are, by API."""

_REQUESTS = {"gemini": _gemini_request, "openai": _openai_request}
_REPLIES = {"gemini": _gemini_reply, "openai": _openai_reply}
