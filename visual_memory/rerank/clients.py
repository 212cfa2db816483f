"""Two ways to ask a vision-language model over HTTP: Gemini's, and OpenAI's.

  client = make_client("openai", url="http://localhost:8000/v1", model="m", ...)
  reply = client.send(parts, parameters={"temperature": 0.0})

Each needs one POST of JSON and one answer of JSON, by httpx. The vendors' own
packages would add retries of their own, which a budget cannot see, and several
versions to follow. OpenAI's is also spoken by servers of open models (vLLM,
SGLang, llama.cpp, Ollama).

A key is read from an environment variable, sent in a header to the one address
that was named, and nowhere else: no redirect is followed, and it is struck out
of whatever a server says before that is shown, cut or kept.

Whatever a server does ends in a Reply or in RequestFailed.
"""

import base64
import dataclasses
import io
import json
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from visual_memory.rerank import http_post
from visual_memory.rerank.http_post import RequestFailed

_MOST_TOKENS = 10**9
"""More than any model reads or writes at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
  """A model's answer and what the server counted."""

  text: str
  input_tokens: int
  output_tokens: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Client:
  """One server and model; make one with `make_client`.

  Attributes:
    api: "gemini" or "openai".
    url: of the server, with the API's version in it.
    model: the server's name for it.
    timeout_s: without any byte.
    total_s: of a whole request, however steadily bytes drip.
    image_side: larger images are shrunk to this side before they are sent.
  """

  api: str
  url: str
  model: str
  timeout_s: float
  total_s: float
  image_side: int
  _key: str = dataclasses.field(repr=False, default="")

  def send(
    self, parts: Sequence[str | np.ndarray], parameters: Mapping[str, Any]
  ) -> Reply:
    """The answer to texts and images, from a thread without an event loop.

    Raises:
      RequestFailed: says why, and whether to try again.
    """
    address, headers, body = _REQUESTS[self.api](self, parts, parameters)
    data = http_post.post(
      address,
      json.dumps(body).encode(),
      headers=headers,
      timeout_s=self.timeout_s,
      total_s=self.total_s,
      secret=self._key,
    )
    try:
      reply = _REPLIES[self.api](json.loads(data, parse_constant=_refused))
    except (
      ValueError,
      LookupError,
      TypeError,
      AttributeError,
      ArithmeticError,
      RecursionError,
    ) as error:
      raise RequestFailed(
        f"not what the {self.api} API answers: {type(error).__name__}",
        again=True,
      ) from None
    text = http_post.struck_out(reply.text, self._key)
    return dataclasses.replace(reply, text=text)


def make_client(
  api: str,
  *,
  url: str,
  model: str,
  key_variable: str,
  timeout_s: float,
  total_s: float,
  image_side: int,
) -> Client:
  """A client, with its key from the environment.

  Args:
    api: "gemini" or "openai".
    url: of the server; the vendor's own if empty.
    model: the server's name for it.
    key_variable: the environment variable that holds the key; empty for a
      server that needs none.
    timeout_s: without any byte, after which a request has failed.
    total_s: of a whole request.
    image_side: larger images are shrunk to this side before they are sent.

  Raises:
    ValueError: an unknown API, no model, no usable address or key; one
      sentence.
    ImportError: httpx is not installed.
  """
  if api not in URLS:
    raise ValueError(f"There is no API {api!r}; there are: {', '.join(URLS)}.")
  if not model:
    raise ValueError("Name the model to ask, as the server calls it.")
  url = (url or URLS[api]).rstrip("/")
  address = urllib.parse.urlsplit(url)
  if (
    address.scheme not in ("http", "https")
    or not address.hostname
    or "@" in address.netloc
    or address.query
    or address.fragment
  ):
    raise ValueError(
      "The server's address must be http(s)://HOST/PATH, without a user, a"
      " password or a query; a key belongs into an environment variable."
    )
  key = os.environ.get(key_variable, "").strip() if key_variable else ""
  if key_variable and not key:
    raise ValueError(
      f"There is no API key: set the environment variable {key_variable}, or"
      " replay recorded answers (offline=True), which needs none."
    )
  if not (key.isascii() and key.isprintable()):
    raise ValueError(
      f"The API key in {key_variable} has characters that no key has: copy it"
      " again."
    )
  http_post.require_httpx()
  return Client(
    api=api,
    url=url,
    model=model,
    timeout_s=timeout_s,
    total_s=total_s,
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
    input_tokens=_count(usage.get("promptTokenCount", 0)),
    output_tokens=_count(usage.get("candidatesTokenCount", 0)),
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
    input_tokens=_count(usage.get("prompt_tokens", 0)),
    output_tokens=_count(usage.get("completion_tokens", 0)),
  )


def _base64(image, client) -> str:
  return base64.b64encode(png(image, side=client.image_side)).decode()


def _count(value: Any) -> int:
  """A number of tokens; anything else would make a cost wrong.

  Raises:
    ValueError: no whole number from 0 to 10^9.
  """
  if isinstance(value, bool) or not isinstance(value, int | float | None):
    raise ValueError("a count of tokens")
  value = value or 0
  if not 0 <= value <= _MOST_TOKENS or value != int(value):
    raise ValueError("a count of tokens")
  return int(value)


def _refused(constant: str) -> Any:
  """Raises ValueError: NaN and Infinity are no JSON."""
  raise ValueError(constant)


URLS = {
  "gemini": "https://generativelanguage.googleapis.com/v1beta",
  "openai": "https://api.openai.com/v1",
}
"""Where the vendors' own servers are, by API."""

_REQUESTS = {"gemini": _gemini_request, "openai": _openai_request}
_REPLIES = {"gemini": _gemini_reply, "openai": _openai_reply}
