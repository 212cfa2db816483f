"""Asks a vision-language model many questions: within a budget, resumable.

  recordings = Recordings("work/recordings")
  reranker = RemoteReranker(client=client, recordings=recordings, ...)
  answers = reranker(questions, repeats=2)
  recordings.drop_images([image])            # with an image's removal

Every exchange is recorded as it ends. A stopped run goes on where it was;
offline, nothing is sent and every answer must have been recorded. Failures and
questions that the budget left out are recorded too, so that a replay gives the
same report; a run that may ask tries them again.

A recording is found by what was asked: hashes of every text and image in
order, API, model, parameters, and which repeat it is. It holds these hashes and
the answer: no image, no key, no address. Removing an image from a memory must
also remove what a model said having seen it: `drop_images`.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from visual_memory import files
from visual_memory.data.image_source import ImageSource
from visual_memory.rerank import prompts
from visual_memory.rerank.clients import Client, RequestFailed
from visual_memory.rerank.rerank import STATUSES, Answer, Question
from visual_memory.types import UNLABELED

_VERSION = 1
"""Of recordings; part of what they are found by."""

_RECORDINGS = "*/[!.]*.json"
"""Names that begin with a dot are of files that are being written."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """What a run may spend and how it tries.

  Attributes:
    requests: to send at most, retries included.
    cost: to spend at most, in the currency of the prices. Requests under way
      when it is reached still count.
    prices: of a million input tokens and of a million output tokens.
    concurrency: requests under way at once.
    attempts: for one question.
    backoff_s: wait before the second attempt; doubled for each further one.
    max_wait_s: no wait is longer, whatever the server asks for.
    max_characters: a longer answer is not read.
  """

  requests: int
  cost: float
  prices: tuple[float, float]
  concurrency: int
  attempts: int
  backoff_s: float
  max_wait_s: float
  max_characters: int


class Budget:
  """Counts requests and money; safe to share between threads."""

  def __init__(self, limits: Limits):
    """Nothing is spent yet."""
    self._limits, self._lock = limits, threading.Lock()
    self.requests, self.cost = 0, 0.0

  def take(self) -> bool:
    """Whether one more request may be sent; if so it is counted."""
    with self._lock:
      limits = self._limits
      if self.requests >= limits.requests or self.cost >= limits.cost:
        return False
      self.requests += 1
      return True

  def pay(self, answer: Answer) -> None:
    """Adds the price of an answer's tokens."""
    per_input, per_output = self._limits.prices
    price = answer.input_tokens * per_input + answer.output_tokens * per_output
    with self._lock:
      self.cost += price / 1e6


class Recordings:
  """A directory of recordings, one small JSON file for each."""

  def __init__(self, path: str | os.PathLike):
    """Nothing is made before the first recording."""
    self.path = pathlib.Path(path)

  def key(
    self,
    parts: Sequence[str | np.ndarray],
    *,
    api: str,
    model: str,
    parameters: Mapping[str, Any],
    repeat: int,
  ) -> tuple[str, dict[str, Any]]:
    """The name of an exchange, and what it is made from."""
    about = {
      "version": _VERSION,
      "api": api,
      "model": model,
      "parameters": dict(parameters),
      "repeat": repeat,
      "images": [image_hash(p) for p in parts if not isinstance(p, str)],
      "texts": [
        hashlib.sha256(p.encode()).hexdigest() for p in parts
        if isinstance(p, str)
      ],
      "order": "".join("t" if isinstance(p, str) else "i" for p in parts),
    }  # fmt: skip
    text = json.dumps(about, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest(), about

  def get(self, key: str) -> Answer | None:
    """The recorded answer.

    Raises:
      ValueError: the file is damaged; names it.
    """
    path = self._file(key)
    if not path.exists():
      return None
    try:
      fields = json.loads(path.read_text(encoding="utf-8"))["answer"]
      answer = Answer(**fields)
      if answer.status not in STATUSES:
        raise ValueError(f"unknown status {answer.status!r}")
      return answer
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f"The recording {path} cannot be read ({error}): delete it."
      ) from error

  def put(self, key: str, about: Mapping[str, Any], answer: Answer) -> None:
    """Keeps an answer; the file appears whole."""
    content = {"about": about, "answer": dataclasses.asdict(answer)}
    files.write_text(
      self._file(key), json.dumps(content, sort_keys=True, indent=1)
    )

  def drop_images(self, images: Iterable[np.ndarray | str]) -> int:
    """Overwrites and deletes every recording that saw one of the images.

    Args:
      images: pixels, or hashes of them as `image_hash` gives them.

    Returns:
      How many recordings were deleted.
    """
    gone = {i if isinstance(i, str) else image_hash(i) for i in images}
    dropped = 0
    for path in sorted(self.path.glob("*/.*.json")):
      _erase(path)  # What a killed writer left, of whichever images.
    for path in sorted(self.path.glob(_RECORDINGS)):
      about = json.loads(path.read_text(encoding="utf-8"))["about"]
      if not gone.isdisjoint(about["images"]):
        _erase(path)
        dropped += 1
    return dropped

  def drop_rows(self, source: ImageSource, ids: Iterable[str]) -> int:
    """`drop_images` of these rows of a source: to go with a memory's removal.

    Must come before the images are deleted.

    Raises:
      ValueError: the source has no such id; nothing is deleted then.
    """
    row_of = {value: row for row, value in enumerate(source.ids)}
    rows = []
    for value in ids:
      if value not in row_of:
        raise ValueError(f"The source has no image {value!r}.")
      rows.append(row_of[value])
    return self.drop_images([source[row].image for row in rows])

  def similar(self, about: Mapping[str, Any]) -> str:
    """Why there is no such recording, as far as the others tell."""
    others = [
      json.loads(path.read_text(encoding="utf-8"))["about"]
      for path in sorted(self.path.glob(_RECORDINGS))
    ]
    asked = [o for o in others if o["images"] == about["images"]]
    if not others:
      return f"there is no recording at all in {self.path}"
    if not asked:
      return "these images were never asked about together"
    differs = sorted(
      name for name in about
      if all(other[name] != about[name] for other in asked)
    )  # fmt: skip
    return f"the recordings of these images differ in {', '.join(differs)}"

  def __len__(self) -> int:
    """How many there are."""
    return sum(1 for _ in self.path.glob(_RECORDINGS))

  def _file(self, key: str) -> pathlib.Path:
    return self.path / key[:2] / f"{key}.json"


def _erase(path: pathlib.Path) -> None:
  """Overwrites a file and deletes it."""
  with open(path, "r+b") as file:
    file.write(b"\0" * os.path.getsize(path))
    file.flush()
    os.fsync(file.fileno())
  path.unlink()


def image_hash(image: np.ndarray) -> str:
  """SHA-256 of an image's shape and pixels."""
  image = np.ascontiguousarray(image)
  digest = hashlib.sha256(str(image.shape).encode())
  digest.update(image.tobytes())
  return digest.hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteReranker:
  """Asks a server, or reads what it said.

  Attributes:
    client: who is asked; None offline.
    api: of the recordings; likewise model.
    model: see api.
    template: of the prompt; see rerank_prompts.
    class_names: of all classes.
    parameters: sent along, such as the temperature; part of a recording's key.
    recordings: where exchanges are kept.
    limits: of the run.
    sleep: waits; for tests.
  """

  client: Client | None
  api: str
  model: str
  template: str
  class_names: tuple[str, ...]
  parameters: Mapping[str, Any]
  recordings: Recordings
  limits: Limits
  sleep: Callable[[float], None] = time.sleep

  def __call__(
    self, questions: Sequence[Question], *, repeats: int
  ) -> list[list[Answer]]:
    """The answers of each repeat, in the order of the questions.

    Raises:
      ValueError: offline, and an answer was not recorded: names the question
        and says what the recordings differ in.
    """
    budget = Budget(self.limits)
    count = len(questions)
    work = [(place, r) for r in range(repeats) for place in range(count)]
    # A question may read its images on access: only those in hand are held.
    ask = lambda pair: self._answer(questions[pair[0]], pair[1], budget)
    with concurrent.futures.ThreadPoolExecutor(
      self.limits.concurrency, thread_name_prefix="rerank"
    ) as pool:
      answers = list(pool.map(ask, work))
    return [answers[r * count : (r + 1) * count] for r in range(repeats)]

  def _answer(self, question, repeat, budget) -> Answer:
    parts = prompts.fill_prompt(self.template, question, self.class_names)
    key, about = self.recordings.key(
      parts, api=self.api, model=self.model, parameters=self.parameters,
      repeat=repeat,
    )  # fmt: skip
    answer = self.recordings.get(key)
    if self.client is None and answer is None:
      raise ValueError(
        f"No answer is recorded for the query {question.id!r}:"
        f" {self.recordings.similar(about)}. Ask again with offline=False, or"
        " use the settings that were recorded."
      )
    if self.client is not None and (
      answer is None or answer.status in ("failed", "unasked")
    ):
      answer = self._ask(parts, budget)
      self.recordings.put(key, about, answer)
    if answer.status in ("failed", "unasked"):
      return answer
    # Labels are parsed again, so that a better parser needs no new answers.
    label, status = prompts.parse(
      answer.text, question.choices, self.class_names,
      max_characters=self.limits.max_characters,
    )  # fmt: skip
    return dataclasses.replace(answer, label=label, status=status)

  def _ask(self, parts, budget) -> Answer:
    """One answer, after as many attempts as it takes and may."""
    reason = "the budget was spent"
    for attempt in range(self.limits.attempts):
      if not budget.take():
        return Answer(
          label=UNLABELED, status="failed" if attempt else "unasked",
          text=reason, attempts=attempt,
        )  # fmt: skip
      try:
        reply = self.client.send(parts, self.parameters)
      except RequestFailed as error:
        reason = error.reason
        if not error.again:
          return Answer(
            label=UNLABELED, status="failed", text=reason, attempts=attempt + 1
          )
        if attempt + 1 < self.limits.attempts:
          wait_s = error.wait_s or self.limits.backoff_s * 2**attempt
          self.sleep(min(wait_s, self.limits.max_wait_s))
        continue
      answer = Answer(
        label=UNLABELED,
        status="empty",  # Until it is parsed.
        text=reply.text[: self.limits.max_characters + 1],
        attempts=attempt + 1,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
      )
      budget.pay(answer)
      return answer
    return Answer(
      label=UNLABELED, status="failed", text=reason,
      attempts=self.limits.attempts,
    )  # fmt: skip
