"""Re-ranking: a fake server that speaks each API, recordings, local."""

import dataclasses
import json
import logging

import numpy as np
import pytest
import vlm_server

from visual_memory.data import array_source
from visual_memory.reports.sections import rerank as sections
from visual_memory.rerank import (
  by_patches,
  clients,
  prompts,
  recordings,
  rerank,
)
from visual_memory.rerank.by_model import Limits, RemoteReranker

NAMES = ("tabby_cat", "cat", "red fox", "owl")
KEY = "sk-very-secret-0123456789"
PARAMETERS = {"temperature": 0.0}


def question(number, vote=1):
  rng = np.random.default_rng(number)
  picture = lambda: rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
  return rerank.Question(
    id=f"query/{number}", image=picture(),
    neighbor_images=(picture(), picture(), picture()),
    neighbor_labels=np.array([1, 0, 2]),
    similarities=np.array([0.9, 0.8, 0.7]), choices=(0, 1, 2), vote=vote,
  )  # fmt: skip


LIMITS = Limits(
  max_requests=1000, max_cost=1.0, prices=(1.0, 4.0), concurrency=3, attempts=4,
  backoff_s=0.001, max_wait_s=0.01, max_characters=300,
)  # fmt: skip


@pytest.fixture
def server():
  with vlm_server.running() as found:
    yield found


def reranker(server, api, path, *, offline=False, monkeypatch=None, **limits):
  if monkeypatch is not None:
    monkeypatch.setenv("TEST_VLM_KEY", KEY)
  client = None
  if not offline:
    client = clients.make_client(
      api, url=f"{server.url}/v1", model="seer-1", key_variable="TEST_VLM_KEY",
      timeout_s=1.0, total_s=2.0, image_side=64,
    )  # fmt: skip
  return RemoteReranker(
    client=client, api=api, model="seer-1", class_names=NAMES,
    template=prompts.TEMPLATE, parameters=PARAMETERS,
    recordings=recordings.Recordings(path),
    limits=dataclasses.replace(LIMITS, **limits),
  )  # fmt: skip


def summary(questions, answers):
  count = len(questions)
  return rerank.summarize(
    [q.choices for q in questions], answers, asked=np.arange(count),
    prices=LIMITS.prices,
    votes=np.ones(count, np.int32), labels=np.full(count, 2, np.int32),
    neighbor_labels=np.tile([1, 0, 2], (count, 1)),
  )  # fmt: skip


# One script for each question: what the server does, attempt after attempt.
SCRIPTS = {
  0: ["red fox"],
  1: [429, 500, '{"label": "red fox"}'],
  2: ["malformed", "It is a RED_FOX, surely."],
  3: ["cut", "cat"],
  4: ["slow", "red fox"],
  5: ["an aardvark"],
  6: [""],
  7: [503] * 9,
  8: [400],
  9: ["red fox " * 99],
}
STATUSES = {"ok": 4, "repaired": 1, "outside": 1, "empty": 1, "too_long": 1,
            "failed": 2, "unasked": 0}  # fmt: skip


@pytest.mark.parametrize("api", clients.URLS)
def test_end_to_end_then_replayed_with_the_server_off(
  api, server, tmp_path, monkeypatch, caplog, capfd
):
  caplog.set_level(logging.DEBUG)
  questions = [question(n) for n in SCRIPTS]
  server.play({
    recordings.image_hash(questions[n].image): script
    for n, script in SCRIPTS.items()
  })  # fmt: skip
  online = reranker(server, api, tmp_path, monkeypatch=monkeypatch)
  answers = online(questions, repeats=1)
  found = summary(questions, answers)
  assert found.statuses == STATUSES
  assert [a.label for a in answers[0]] == [2, 2, 2, 1, 2, -1, -1, -1, -1, -1]
  assert [a.attempts for a in answers[0]] == [1, 3, 2, 2, 2, 1, 1, 4, 1, 1]
  assert found.with_reranking == 0.4 and found.fixed == 4 and found.broken == 0
  assert found.without == 0 and found.bound == found.hit_rate == 1
  assert found.attempts == server.num_requests == 18
  # Eight answers arrived, each of 100 and 7 tokens.
  assert found.cost == pytest.approx(8 * (100 * 1 + 7 * 4) / 1e6)
  assert server.keys == {KEY} and server.apis == {api}
  server.stop()
  offline = reranker(server, api, tmp_path, offline=True)
  replayed = offline(questions, repeats=1)
  assert replayed == answers
  report = json.dumps(summary(questions, replayed).values(), sort_keys=True)
  assert report == json.dumps(found.values(), sort_keys=True)
  # The key is nowhere but in the request's header.
  text = "".join(p.read_text() for p in tmp_path.rglob("*.json"))
  said = capfd.readouterr()
  for place in (text, caplog.text, said.out, said.err, report, repr(online)):
    assert KEY not in place
  assert any("***" in a.text for a in answers[0])  # The server echoed it.


def test_resume_asks_only_what_is_missing(server, tmp_path, monkeypatch):
  questions = [question(n) for n in range(6)]
  server.play({})
  make = lambda **limits: reranker(
    server, "openai", tmp_path, monkeypatch=monkeypatch, concurrency=1, **limits
  )
  part = make(max_requests=4)(questions, repeats=1)[0]
  assert [a.status for a in part] == ["ok"] * 4 + ["unasked"] * 2
  replayed = reranker(server, "openai", tmp_path, offline=True)
  assert replayed(questions, repeats=1)[0] == part
  whole = make()(questions, repeats=1)[0]
  assert server.num_requests == 6
  assert {a.status for a in whole} == {"ok"}
  make()(questions, repeats=2)
  assert server.num_requests == 12  # The second repeat is asked anew.


def test_money_and_agreement(server, tmp_path, monkeypatch):
  questions = [question(n) for n in range(8)]
  server.play({
    recordings.image_hash(questions[0].image): ["cat", "red fox"],
    recordings.image_hash(questions[1].image): ["cat", "cat"],
  })  # fmt: skip
  make = lambda path, **limits: reranker(
    server, "gemini", path, monkeypatch=monkeypatch, concurrency=1, **limits
  )
  twice = make(tmp_path / "a")(questions[:2], repeats=2)
  assert summary(questions[:2], twice).agreement == 0.5
  price = (100 + 7 * 4) / 1e6
  answers = make(tmp_path / "b", max_cost=2.5 * price)(questions, repeats=1)[0]
  assert [a.status for a in answers] == ["ok"] * 3 + ["unasked"] * 5


def test_a_removed_image_takes_its_recordings_along(
  server, tmp_path, monkeypatch
):
  questions = [question(n) for n in range(3)]
  server.play({})
  given = reranker(server, "openai", tmp_path, monkeypatch=monkeypatch)
  given(questions, repeats=1)
  assert len(given.recordings) == 3
  gone = questions[1].neighbor_images[2]
  source = array_source.array_source(
    np.stack([gone, gone[::-1]]), np.array([0, 1]), ids=["gone", "other"],
    class_names=["a", "b"], fingerprint="",
  )  # fmt: skip
  with pytest.raises(ValueError, match="no image 'elsewhere'"):
    given.recordings.drop_rows(source, ["gone", "elsewhere"])
  assert given.recordings.drop_rows(source, ["gone", "other"]) == 1
  assert given.recordings.drop_images([gone]) == 0
  left = "".join(p.read_text() for p in tmp_path.rglob("*.json"))
  assert recordings.image_hash(gone) not in left
  assert recordings.image_hash(questions[0].image) in left
  offline = reranker(server, "openai", tmp_path, offline=True)
  offline([questions[0], questions[2]], repeats=1)
  with pytest.raises(ValueError, match="'query/1'.*never asked about together"):
    offline(questions, repeats=1)


def test_recordings_for_other_parameters(server, tmp_path, monkeypatch):
  server.play({})
  reranker(server, "openai", tmp_path, monkeypatch=monkeypatch)(
    [question(0)], repeats=1
  )
  offline = reranker(server, "openai", tmp_path, offline=True)
  warmer = dataclasses.replace(offline, parameters={"temperature": 1.0})
  with pytest.raises(ValueError, match="query/0.*differ in parameters"):
    warmer([question(0)], repeats=1)
  other = dataclasses.replace(offline, model="seer-2")
  with pytest.raises(ValueError, match="differ in model"):
    other([question(0)], repeats=1)
  nothing = dataclasses.replace(
    offline, recordings=recordings.Recordings(tmp_path / "none")
  )
  with pytest.raises(ValueError, match="no recording at all"):
    nothing([question(0)], repeats=1)
  path = next(tmp_path.rglob("*.json"))
  path.write_text("{")
  with pytest.raises(ValueError, match="cannot be read"):
    offline([question(0)], repeats=1)


def test_missing_key_is_one_sentence(monkeypatch):
  monkeypatch.delenv("TEST_VLM_KEY", raising=False)
  given = dict(url="", timeout_s=1.0, total_s=2.0, image_side=64)
  make = clients.make_client
  with pytest.raises(ValueError) as error:
    make("gemini", model="m", key_variable="TEST_VLM_KEY", **given)
  assert str(error.value).count(".") == 1 and "TEST_VLM_KEY" in str(error.value)
  assert make("openai", model="m", key_variable="", **given).api == "openai"
  with pytest.raises(ValueError, match="no API 'gpt'"):
    make("gpt", model="m", key_variable="", **given)
  with pytest.raises(ValueError, match="Name the model"):
    make("openai", model="", key_variable="", **given)


@pytest.mark.parametrize(
  "text, label, status",
  [
    ("cat", 1, "ok"),
    ("tabby cat", 0, "ok"),
    ('{"label": "red fox"}', 2, "ok"),
    ('Sure:\n```json\n{"label": "red fox"}\n```', 2, "ok"),
    ("The red_fox.", 2, "repaired"),
    ("CAT!", 1, "repaired"),
    ("I think it is a tabby cat, sitting.", 0, "repaired"),
    ("Either cat or red fox", -1, "outside"),  # Two of them.
    ("category", -1, "outside"),  # No word is cat.
    ("owl", -1, "outside"),  # A class, but not offered.
    ('{"label": "owl"} or cat', -1, "outside"),  # The JSON decides.
    ('{"label": 3}', -1, "outside"),
    ("{" * 50, -1, "outside"),
    ("  \n", -1, "empty"),
    ("cat" * 200, -1, "too_long"),
  ],
)
def test_parsing(text, label, status):
  found = prompts.parse(text, (0, 1, 2), NAMES, max_characters=300)
  assert found == (label, status)


def test_prompts():
  asked = question(0)
  parts = prompts.fill_prompt(prompts.TEMPLATE, asked, NAMES)
  images = [p for p in parts if not isinstance(p, str)]
  text = "|".join(p for p in parts if isinstance(p, str))
  assert images[-1] is asked.image and len(images) == 4
  assert text.index("Label: cat\n") < text.index("Label: tabby cat\n")
  assert "labels: tabby cat, cat, red fox." in text
  with pytest.raises(ValueError, match="{query} once"):
    prompts.fill_prompt("What is {neighbors}?", asked, NAMES)


def test_margin_is_chosen_on_tuning_queries():
  margin = np.array([0.1, 0.9, 0.5, 0.7, 0.3, 0.5])
  right = np.array([False, True, True, True, False, True])
  choose = rerank.choose_margin
  assert choose(margin, right, promise=1.0) == 0.5
  assert choose(margin, right, promise=0.8) == 0.3
  assert choose(margin, right, promise=0.0) == 0.1
  assert choose(margin, ~right, promise=0.9) == np.inf
  shares = np.array([[0.5, 0.2, 0.3], [0.0, 1.0, 0.0]])
  np.testing.assert_allclose(rerank.margins(shares), [0.2, 1.0])


def test_local_scores_against_numpy():
  rng = np.random.default_rng(0)
  query = rng.normal(size=(5, 8))
  rows = rng.normal(size=(3, 5, 8))
  unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
  expected = []
  for tokens in unit(rows):
    alike = unit(query) @ tokens.T
    weights = np.exp(alike / 0.1)
    weights /= weights.sum(axis=1, keepdims=True)
    expected.append((weights * alike).sum(axis=1).mean())
  found = by_patches.match(
    unit(query)[None].astype("f"), unit(rows)[None].astype("f"), temperature=0.1
  )
  np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_local_reranker_finds_what_the_vote_missed():
  """A neighbor made of the query's own patches beats nearer strangers."""
  rng = np.random.default_rng(0)
  questions = []
  for number in range(12):
    base = question(number, vote=1)
    image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    twin = np.roll(image, 4, axis=1)  # The same patches elsewhere.
    questions.append(dataclasses.replace(
      base, image=image, neighbor_images=(
        *[rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)] * 2, twin,
      ), similarities=np.array([0.5, 0.5, 0.45]),
    ))  # fmt: skip
  import visual_memory as vm

  local = by_patches.LocalReranker(
    encoder=vm.load_encoder("pixels", size=8), num_classes=4, patch=4,
    settings=by_patches.LocalSettings(
      attention=0.05, share=0.5, temperature=0.07
    ),
  )  # fmt: skip
  answers = local(questions, repeats=1)[0]
  assert [a.label for a in answers] == [2] * 12
  assert {a.status for a in answers} == {"ok"}
  labels = np.full(12, 2)
  tuned, accuracy = local.tuned(
    questions, labels,
    [dataclasses.replace(local.settings, share=share) for share in (0.0, 0.5)],
  )  # fmt: skip
  assert tuned.settings.share == 0.5 and accuracy == 1.0


def test_a_margin_that_leaves_nothing_out_is_told_in_words():
  found = rerank.Summary(
    without=0.5, with_reranking=0.6, alone=0.6, votes_there=0.5, usable=10,
    bound=0.9, hit_rate=0.9, asked=10, fixed=1, broken=0, statuses={},
    agreement=None, attempts=10, input_tokens=0, output_tokens=0, cost=0.0,
  )  # fmt: skip
  told = lambda margin: " ".join(
    sections.section(found, who="It", k=5, threshold=margin).prose
  )
  assert "less than 0.25 of its weight" in told(0.25)
  assert "every query" in told(np.inf) and "inf " not in told(np.inf)
