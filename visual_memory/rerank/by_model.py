"""Asks a vision-language model many questions: within a budget, resumable.

  recordings = Recordings("work/recordings")
  reranker = RemoteReranker(client=client, recordings=recordings, ...)
  answers = reranker(questions, repeats=2)

Every exchange is recorded as it ends. A stopped run goes on where it was;
offline, nothing is sent and every answer must have been recorded. Failures and
questions that the budget left out are recorded too, so that a replay gives the
same report; a run that may ask tries them again.
"""

import concurrent.futures
import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from visual_memory.rerank import prompts
from visual_memory.rerank.clients import Client, RequestFailed
from visual_memory.rerank.recordings import UNANSWERED, Recordings
from visual_memory.rerank.rerank import Answer, Question
from visual_memory.types import UNLABELED


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """What a run may spend and how it tries.

  Attributes:
    max_requests: to send at most, retries included.
    max_cost: to spend at most, in the currency of the prices. Requests under
      way when it is reached still count.
    prices: of a million input tokens and of a million output tokens.
    concurrency: requests under way at once.
    attempts: for one question.
    backoff_s: wait before the second attempt; doubled for each further one.
    max_wait_s: no wait is longer, whatever the server asks for.
    max_characters: a longer answer is not read.
  """

  max_requests: int
  max_cost: float
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
      if self.requests >= limits.max_requests or self.cost >= limits.max_cost:
        return False
      self.requests += 1
      return True

  def pay(self, answer: Answer) -> None:
    """Adds the price of an answer's tokens."""
    per_input, per_output = self._limits.prices
    price = answer.input_tokens * per_input + answer.output_tokens * per_output
    with self._lock:
      self.cost += price / 1e6


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
    answer = self.recordings.get(key, about)
    if self.client is None and answer is None:
      raise ValueError(
        f"No answer is recorded for the query {question.id!r}:"
        f" {self.recordings.similar(about)}. Ask again with offline=False, or"
        " use the settings that were recorded."
      )
    if self.client is not None and (
      answer is None or answer.status in UNANSWERED
    ):
      answer = self._ask(parts, budget)
      self.recordings.put(key, about, answer)
    if answer.status in UNANSWERED:
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
