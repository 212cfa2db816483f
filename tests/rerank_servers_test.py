"""Servers that mean harm: each ends one question, and costs what it may."""

import contextlib
import http.server
import json
import socket
import threading
import time

import numpy as np
import pytest
from rerank_test import KEY, LIMITS, NAMES, PARAMETERS, question, summary

from visual_memory.rerank import clients, http_post, prompts, rerank
from visual_memory.rerank.by_model import RemoteReranker
from visual_memory.rerank.recordings import Recordings


class Handler(http.server.BaseHTTPRequestHandler):
  """Does what its server was told, to every request."""

  def do_POST(self):
    self.rfile.read(int(self.headers["Content-Length"]))
    self.server.requests.append(dict(self.headers))
    self.server.act(self)

  do_GET = do_POST

  def say(self, body, *, status=200, headers=()):
    self.send_response(status)
    for name, value in headers:
      self.send_header(name, value)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    self.wfile.write(body)

  def log_message(self, *_):
    pass


@contextlib.contextmanager
def serving(act):
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  server.daemon_threads = True
  server.act, server.requests = act, []
  threading.Thread(  # Asked often whether to stop.
    target=server.serve_forever, args=(0.01,), daemon=True
  ).start()
  server.url = f"http://127.0.0.1:{server.server_port}"
  try:
    yield server
  finally:
    server.shutdown()
    server.server_close()


SOON = {"timeout_s": 0.5, "total_s": 1.5}


def ask(
  url, path, monkeypatch, *, api="openai", attempts=2, count=1, key=KEY,
  timeout_s=60.0, total_s=120.0,
):  # fmt: skip
  """The answers of a server, what was recorded, and the summary."""
  monkeypatch.setenv("TEST_VLM_KEY", key)
  client = clients.make_client(
    api, url=url, model="seer-1", key_variable="TEST_VLM_KEY",
    timeout_s=timeout_s, total_s=total_s, image_side=8,
  )  # fmt: skip
  import dataclasses

  reranker = RemoteReranker(
    client=client, api=api, model="seer-1", class_names=NAMES,
    template=prompts.TEMPLATE, parameters=PARAMETERS,
    recordings=Recordings(path),
    limits=dataclasses.replace(LIMITS, attempts=attempts),
  )  # fmt: skip
  questions = [question(n) for n in range(count)]
  answers = reranker(questions, repeats=1)[0]
  kept = "".join(p.read_text() for p in path.rglob("*.json"))
  return answers, kept, summary(questions, [answers])


def openai(content="red fox", **usage):
  usage = {"prompt_tokens": 100, "completion_tokens": 7} | usage
  return json.dumps(
    {"choices": [{"message": {"content": content}}], "usage": usage}
  ).encode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused(status, tmp_path, monkeypatch):
  """The other server would get the key, and its answer would count."""
  with serving(lambda h: h.say(openai())) as other:
    there = f"{other.url}/v1/chat/completions"
    act = lambda h: h.say(b"", status=status, headers=[("Location", there)])
    with serving(act) as server:
      answers, _, found = ask(server.url, tmp_path, monkeypatch)
    assert not other.requests
  assert answers[0].status == "failed" and answers[0].attempts == 1
  assert "points elsewhere" in answers[0].text
  assert len(server.requests) == 1 and found.usable == 0


QUOTES = {
  "an answer": lambda h: h.say(openai(f"red fox {KEY} red fox")),
  "an answer, where it is cut": lambda h: h.say(
    openai(" " * 290 + KEY + " red fox")
  ),
  "an error": lambda h: h.say(f"no key {KEY}".encode(), status=401),
  "an error, where it is cut": lambda h: h.say(
    b"x" * 190 + b" " * 1800 + KEY.encode(), status=500
  ),
  "an error in base64": lambda h: h.say(
    __import__("base64").b64encode(KEY.encode()), status=400
  ),
}


@pytest.mark.parametrize("name", QUOTES)
def test_a_key_that_comes_back_is_struck_out(name, tmp_path, monkeypatch):
  with serving(QUOTES[name]) as server:
    answers, kept, _ = ask(server.url, tmp_path, monkeypatch)
  assert any(KEY in str(request) for request in server.requests)
  for length in (8, len(KEY)):
    for text in (kept, answers[0].text, repr(answers)):
      assert KEY[:length] not in text and KEY[-length:] not in text


def test_a_placeholder_for_a_key_is_no_secret(tmp_path, monkeypatch):
  with serving(lambda h: h.say(openai("red fox"))) as server:
    answers, _, _ = ask(server.url, tmp_path, monkeypatch, key="fox")
  assert answers[0].label == 2


def drip(handler, body, pause):
  """A byte at a time, each well within the time of one read."""
  with contextlib.suppress(OSError):
    for byte in body:
      handler.wfile.write(bytes([byte]))
      handler.wfile.flush()
      time.sleep(pause)


def test_a_body_that_drips_ends_in_time(tmp_path, monkeypatch):
  def act(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    drip(handler, b"{" * 300, 0.1)

  with serving(act) as server:
    answers, _, _ = ask(server.url, tmp_path, monkeypatch, attempts=1, **SOON)
  assert answers[0].status == "failed" and "within 1.5 s" in answers[0].text


def test_headers_that_drip_end_in_time(tmp_path, monkeypatch):
  act = lambda handler: drip(
    handler, b"HTTP/1.0 200 OK\r\nX: " + b"y" * 300, 0.1
  )
  with serving(act) as server:
    answers, _, _ = ask(server.url, tmp_path, monkeypatch, attempts=1, **SOON)
  assert answers[0].status == "failed" and "within 1.5 s" in answers[0].text


def test_a_server_that_accepts_and_says_nothing(tmp_path, monkeypatch):
  with socket.create_server(("127.0.0.1", 0)) as listener:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    answers, _, _ = ask(url, tmp_path, monkeypatch, attempts=1, **SOON)
  assert answers[0].status == "failed" and "Timeout" in answers[0].text


HOSTILE = {
  "100,000 brackets": b"[" * 100_000,
  "100,000 objects": b'{"choices":' * 100_000,
  "tokens without end": openai().replace(b"100", b"Infinity"),
  "tokens by power": openai().replace(b"100", b"1e400"),
  "no number of tokens": openai().replace(b"100", b"NaN"),
  "tokens that are a text": openai().replace(b"100", b'"100"'),
  "tokens that are a truth": openai().replace(b"100", b"true"),
  "tokens that are given back": openai().replace(b"100", b"-1000000000"),
  "half a token": openai().replace(b"100", b"0.5"),
  "a number of 5,000 digits": openai().replace(b"100", b"9" * 5000),
  "no text": openai().replace(b'"red fox"', b'{"a": 1}'),
  "no choice": b'{"choices": []}',
  "null": b"null",
  "nothing": b"",
  "no UTF-8": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_ends_one_question(name, tmp_path, monkeypatch):
  """The next question is answered, and the cost is that of its answer."""
  bodies = [HOSTILE[name]]
  act = lambda h: h.say(bodies.pop() if bodies else openai())
  with serving(act) as server:
    answers, kept, found = ask(
      server.url, tmp_path, monkeypatch, attempts=1, count=2
    )
  assert sorted(a.status for a in answers) == ["failed", "ok"]
  assert found.cost == pytest.approx((100 + 7 * 4) / 1e6)
  assert len(kept) < 5000
  assert found.alone == 0.5 and found.usable == 1


def test_gemini_counts_are_checked_too(tmp_path, monkeypatch):
  body = {
    "candidates": [{"content": {"parts": [{"text": "red fox"}]}}],
    "usageMetadata": {"promptTokenCount": -5, "candidatesTokenCount": 7},
  }
  act = lambda h: h.say(json.dumps(body).encode())
  with serving(act) as server:
    answers, _, found = ask(
      server.url, tmp_path, monkeypatch, api="gemini", attempts=1
    )
  assert answers[0].status == "failed" and found.cost == 0


def test_what_utf_8_cannot_hold_is_kept_and_read(tmp_path, monkeypatch):
  with serving(lambda h: h.say(openai("red fox \ud800"))) as server:
    answers, _, _ = ask(server.url, tmp_path, monkeypatch)
  assert answers[0].text == "red fox ?" and answers[0].status == "repaired"


@pytest.mark.parametrize(
  "act, says",
  [
    (lambda h: h.say(b"x" * (17 << 20)), "larger than 16 MiB"),
    (
      lambda h: h.say(b"", headers=[("Content-Encoding", "gzip")]),
      "compressed",
    ),
    (lambda h: h.wfile.write(b"\x00\x01\x02"), "Error"),
    (
      lambda h: h.wfile.write(b"HTTP/1.0 200 OK\r\n" + b"a: b\r\n" * 50_000),
      "Error",
    ),
  ],
)
def test_answers_of_no_use(act, says, tmp_path, monkeypatch):
  with serving(act) as server:
    answers, _, _ = ask(server.url, tmp_path, monkeypatch, attempts=1)
  assert answers[0].status == "failed" and says in answers[0].text


@pytest.mark.parametrize(
  "url",
  [
    "ftp://host/v1",
    "host/v1",
    "http://user:word@host/v1",
    "https://host/v1?key=1",
    "file:///etc/passwd",
  ],
)
def test_an_address_is_one_of_a_server(url):
  with pytest.raises(ValueError, match="address must be http"):
    clients.make_client(
      "openai", url=url, model="m", key_variable="", timeout_s=1.0, total_s=2.0,
      image_side=8,
    )  # fmt: skip


def test_a_key_is_one_line(monkeypatch):
  monkeypatch.setenv("TEST_VLM_KEY", "good\nX-Other: bad")
  with pytest.raises(ValueError, match="characters that no key has") as error:
    clients.make_client(
      "openai", url="", model="m", key_variable="TEST_VLM_KEY", timeout_s=1.0,
      total_s=2.0, image_side=8,
    )  # fmt: skip
  assert "X-Other" not in str(error.value)


def test_without_httpx_one_sentence_says_how_to_get_it(monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "httpx", None)
  with pytest.raises(ImportError, match=r"visual_memory\[vlm\]"):
    http_post.require_httpx()


def test_no_answer_at_all_is_no_accuracy_of_answers():
  """Votes of 98.5 % that nobody could answer about stay what they are."""
  votes = np.zeros(200, np.int32)
  labels = np.where(np.arange(200) < 197, 0, 1).astype(np.int32)
  asked = np.arange(150, 200)
  bad = [rerank.Answer(label=-1, status="failed")] * 50
  found = rerank.summarize(
    [(0, 1)] * 50, [bad], asked=asked, votes=votes, labels=labels,
    neighbor_labels=np.zeros((200, 3), int), prices=(1.0, 1.0),
  )  # fmt: skip
  assert found.with_reranking == found.without == 0.985
  assert found.usable == 0 and found.alone == 0.0
  assert found.votes_there == 47 / 50
  half = bad[:25] + [rerank.Answer(label=0, status="ok")] * 25
  found = rerank.summarize(
    [(0, 1)] * 50, [half], asked=asked, votes=votes, labels=labels,
    neighbor_labels=np.zeros((200, 3), int), prices=(1.0, 1.0),
  )  # fmt: skip
  assert found.usable == 25 and found.alone == 22 / 50
  from visual_memory.reports.sections import rerank as sections

  section = sections.section(found, who="Someone", k=3, threshold=0.5)
  rows = {row[0]: row[1] for t in section.tables for row in t.rows}
  assert rows["answers alone, of the 50 asked"] == "44.0"
  assert rows["usable answers"] == "25"
