"""A server on 127.0.0.1 with Gemini's and OpenAI's API, that misbehaves."""

import base64
import contextlib
import http.server
import io
import json
import threading
import time

import numpy as np
from PIL import Image

from visual_memory.rerank.recordings import image_hash


class Server(http.server.ThreadingHTTPServer):
  """Answers by scripts: {hash of the last image: what to do, in turn}."""

  daemon_threads = True

  def __init__(self):
    super().__init__(("127.0.0.1", 0), Handler)
    self.url = f"http://127.0.0.1:{self.server_port}"
    self.lock = threading.Lock()
    self.scripts, self.num_requests = {}, 0
    self.keys, self.apis = set(), set()

  def play(self, scripts):
    self.scripts = {key: list(script) for key, script in scripts.items()}

  def stop(self):
    self.shutdown()
    self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
  def do_POST(self):
    body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
    api, key, images = _understood(self.path, self.headers, body)
    server = self.server
    with server.lock:
      server.num_requests += 1
      server.keys.add(key)
      server.apis.add(api)
      script = server.scripts.get(image_hash(images[-1]))
      action = script.pop(0) if script else "red fox"
    if isinstance(action, int):
      self._send(action, f"no, not for {key}".encode())
    elif action == "malformed":
      self._send(200, b'{"candidates": [}')
    elif action == "cut":
      self._send(200, b'{"choices": [', length=1000)
    elif action == "slow":
      time.sleep(1.5)  # Longer than the client waits.
      with contextlib.suppress(OSError):
        self._send(200, b"{}")
    else:
      self._send(200, json.dumps(_ANSWERS[api](action)).encode())

  def _send(self, status, data, length=None):
    self.send_response(status)
    self.send_header("Content-Length", str(length or len(data)))
    if status == 429:
      self.send_header("Retry-After", "0.005")
    self.end_headers()
    self.wfile.write(data)

  def log_message(self, *_):
    pass


def _understood(path, headers, body):
  """Which API a request speaks, its key, and its images; strict."""
  if path.endswith(":generateContent"):
    assert path == "/v1/models/seer-1:generateContent"
    assert body["generationConfig"] == {"temperature": 0.0}
    parts = body["contents"][0]["parts"]
    data = [p["inline_data"]["data"] for p in parts if "inline_data" in p]
    return "gemini", headers["x-goog-api-key"], [*map(_image, data)]
  assert path == "/v1/chat/completions"
  assert body["model"] == "seer-1" and body["temperature"] == 0.0
  parts = body["messages"][0]["content"]
  data = [
    p["image_url"]["url"].removeprefix("data:image/png;base64,")
    for p in parts if p["type"] == "image_url"
  ]  # fmt: skip
  key = headers["Authorization"].removeprefix("Bearer ")
  return "openai", key, [*map(_image, data)]


def _image(data):
  return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


_ANSWERS = {
  "gemini": lambda text: {
    "candidates": [{"content": {"parts": [{"text": text}]}}],
    "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 7},
  },
  "openai": lambda text: {
    "choices": [{"message": {"role": "assistant", "content": text}}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 7},
  },
}


@contextlib.contextmanager
def running():
  """A server in a thread of its own."""
  server = Server()
  thread = threading.Thread(  # Asked often whether to stop.
    target=server.serve_forever, args=(0.01,), daemon=True
  )
  thread.start()
  try:
    yield server
  finally:
    with contextlib.suppress(OSError):
      server.stop()
