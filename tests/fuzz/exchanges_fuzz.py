"""What servers answer, and recordings of it, that are broken."""

import dataclasses
import json
import pathlib

import fuzzing
import numpy as np

from visual_memory.rerank import clients, http_post, prompts
from visual_memory.rerank.recordings import Recordings
from visual_memory.rerank.rerank import Answer

BODIES = {
  "openai": {
    "choices": [{"message": {"role": "assistant", "content": "red fox"}}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 7},
  },
  "gemini": {
    "candidates": [{"content": {"parts": [{"text": "red fox"}]}}],
    "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 7},
  },
}
IMAGE = np.zeros((2, 2, 3), np.uint8)
NAMES = ("cat", "red fox")


def check(seed: int, folder: pathlib.Path) -> str:
  """One answer, or one recording."""
  rng = fuzzing.random_of(seed)
  return (answer if rng.random() < 0.6 else recording)(rng, folder)


def broken(value, rng) -> bytes:
  """A JSON text with some of it changed."""
  if rng.random() < 0.3:
    return fuzzing.mutated(json.dumps(value).encode(), rng)
  for _ in range(rng.choice([1, 1, 2])):
    value = fuzzing.mutated_json(value, rng)
  return json.dumps(value).encode()


def answer(rng, folder) -> str:
  """A body as an answer, which is recorded."""
  api = rng.choice(list(BODIES))
  client = clients.Client(
    api=api, url="http://127.0.0.1:9", model="m", timeout_s=1.0, total_s=1.0,
    image_side=8,
  )  # fmt: skip
  body, post = broken(BODIES[api], rng), http_post.post
  http_post.post = lambda *_, **__: body
  try:
    reply = client.send(["What?", IMAGE], {})
  except http_post.RequestFailed as error:
    return fuzzing.assert_clear(error)
  finally:
    http_post.post = post
  assert isinstance(reply.text, str)
  assert 0 <= reply.input_tokens + reply.output_tokens <= 2 * 10**9
  label, status = prompts.parse(
    reply.text, (0, 1), NAMES, max_characters=100_000
  )
  assert (label >= 0) == (status in ("ok", "repaired"))
  kept = Recordings(folder / "kept")
  key, about = kept.key(["a"], api=api, model="m", parameters={}, repeat=0)
  said = Answer(
    label=-1, status="empty", text=reply.text,
    input_tokens=reply.input_tokens, output_tokens=reply.output_tokens,
  )  # fmt: skip
  kept.put(key, about, said)
  assert kept.get(key, about) == said
  return "read"


def recording(rng, folder) -> str:
  """A recording that someone changed: read as it was, or refused and erased."""
  kept = Recordings(folder / "kept")
  key, about = kept.key(
    ["a", IMAGE], api="openai", model="m", parameters={"t": 0.5}, repeat=0
  )
  said = Answer(label=-1, status="empty", text="fox", input_tokens=3)
  kept.put(key, about, said)
  (path,) = kept.path.glob("*/*.json")
  path.write_bytes(broken(json.loads(path.read_text()), rng))
  try:
    found = kept.get(key, about)
  except ValueError as error:
    ended = fuzzing.assert_clear(error)
  else:
    assert min(found.attempts, found.input_tokens, found.output_tokens) >= 0
    assert dataclasses.asdict(found).keys() == dataclasses.asdict(said).keys()
    ended = "read"
  kept.similar(about)
  assert kept.drop_images([IMAGE]) == 1 and len(kept) == 0
  return ended
