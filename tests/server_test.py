"""The served page: who may ask, what it answers, a browser that drives it."""

import contextlib
import json
import pathlib
import socket
import threading

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="needs visual_memory[serve]")

import uvicorn
from starlette.testclient import TestClient

import visual_memory as vm
from visual_memory.cli.main import main
from visual_memory.server.app import make_app
from visual_memory.server.session import Session
from visual_memory.server.snapshot import Filter, Snapshot, select
from visual_memory.server.thumbnails import Thumbnails

ROOT = pathlib.Path(__file__).resolve().parents[1]
HOSTILE = "<img src=x onerror=alert(1)>"
PORT, TOKEN = 8000, "token-of-the-test"


def picture(color, seed):
  rng = np.random.default_rng(seed)
  noise = rng.integers(0, 40, (24, 24, 3))
  return Image.fromarray((np.array(color) + noise).astype(np.uint8))


@pytest.fixture
def store(tmp_path):
  """A memory of twelve pictures of three colors, one class with a bad name."""
  for label, color in {
    "red": (200, 0, 0),
    "green": (0, 200, 0),
    HOSTILE.replace("/", ""): (0, 0, 200),
  }.items():
    folder = tmp_path / "photos" / label
    folder.mkdir(parents=True)
    for number in range(4):
      picture(color, number).save(folder / f"{number}.png")
  path = tmp_path / "memory"
  photos = str(tmp_path / "photos")
  assert main(["build", photos, "-s", str(path), "--encoder", "pixels"]) == 0
  return path


@contextlib.contextmanager
def served(session):
  """The address of a session's page, served by a thread of this process."""
  with socket.create_server(("127.0.0.1", 0)) as listener:
    port = listener.getsockname()[1]
    app = make_app(session, token=TOKEN, port=port)
    server = uvicorn.Server(
      uvicorn.Config(app, lifespan="off", log_level="warning", ws="none")
    )
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
      yield f"http://127.0.0.1:{port}/{TOKEN}/"
    finally:
      server.should_exit = True
      thread.join()


@pytest.fixture
def client(store):
  app = make_app(Session(str(store)), token=TOKEN, port=PORT)
  base = f"http://127.0.0.1:{PORT}/{TOKEN}"
  with TestClient(app, base_url=base, follow_redirects=False) as client:
    response = client.get(base)
    assert response.headers["location"] == f"/{TOKEN}/"
    client.headers["x-visual-memory"] = "1"
    yield client


def test_only_the_page_itself_is_answered(client):
  assert client.get("/api/state").status_code == 200
  foreign = {"origin": "http://evil.example"}
  assert client.get("/api/state", headers=foreign).status_code == 403
  assert client.get("/", headers={"host": "evil.example"}).status_code == 403
  assert (
    client.get("/", headers={"host": f"127.0.0.1:{PORT + 1}"}).status_code
    == 403
  )
  cross = {"sec-fetch-site": "cross-site"}
  assert client.get("/api/state", headers=cross).status_code == 403
  # A tab may be led to the page, as from a file; nothing else of it may.
  led = {**cross, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
  assert client.get("/", headers=led).status_code == 200
  assert client.get("/api/state", headers=led).status_code == 403
  framed = {**led, "sec-fetch-dest": "iframe"}
  assert client.get("/", headers=framed).status_code == 403
  other_port = {"origin": f"http://127.0.0.1:{PORT + 1}"}
  assert client.get("/api/state", headers=other_port).status_code == 403
  client.headers.pop("x-visual-memory")
  refused = client.post("/api/pending", json={"kind": "remove", "ids": ["a"]})
  assert refused.status_code == 403
  base = f"http://127.0.0.1:{PORT}"
  for path in (
    "", "/", "/api/state", "/static/main.js", "/wrong/", "/wrong/api/state",
    f"/{TOKEN[:-1]}/", f"/{TOKEN}x/", f"//{TOKEN}/", f"/?token={TOKEN}",
  ):  # fmt: skip
    assert client.get(base + path).status_code == 403, path
  # No cookie: a browser would send it to every port of this machine.
  assert not client.cookies


def test_answers_allow_nothing_from_elsewhere(client):
  for address in ("/", "/static/main.js", "/api/state"):
    headers = client.get(address).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
  # A browser's own copy of a picture would outlive its removal.
  for address in ("/api/state", "/api/picture?id=red/0.png"):
    assert client.get(address).headers["cache-control"] == "no-store"
  page = client.get("/").text
  assert "http://" not in page.replace("http://www.w3.org", "")
  assert "https://" not in page
  assert client.get("/static/..%2fapp.py").status_code == 404


@pytest.mark.parametrize(
  "body",
  [
    b"",
    b"{",
    b"[" * 100_000,
    b"[]",
    b"7",
    b'{"a": ' * 5000,
    b"\xff",
    b'{"ids": 3, "positions": 3, "generation": [], "number": [], "id": 1}',
    b'{"generation": null, "number": null, "start": {}, "k": {}}',
    b'{"k": 1e400, "start": 1e400, "number": 1e400, "generation": 1e400}',
    b'{"classes": 3, "fields": 3, "among": 3}',
    b'{"fields": [[1, 2, 3]], "among": {"a": 1}, "question": {}}',
  ],
)
def test_what_no_page_sends_is_refused_in_words(client, body):
  for what in (
    "rows", "at", "find", "similar", "ask-again", "pending", "undo", "add",
  ):  # fmt: skip
    response = client.post(f"/api/{what}", content=body)
    assert response.status_code in (200, 400), what
    if response.status_code == 400:
      error = response.json()["error"]
      assert error and "Traceback" not in error and "\n" not in error


def test_a_body_without_end_is_not_read(client, monkeypatch):
  monkeypatch.setattr("visual_memory.server.app._MOST_GIVEN_BYTES", 1000)
  monkeypatch.setattr("visual_memory.server.app._MOST_UPLOAD_BYTES", 1000)
  sent = []

  def body():
    for _ in range(100):
      sent.append(1)
      yield b" " * 100

  for what, says in (("rows", "too long"), ("ask", "larger than 64 MB")):
    response = client.post(f"/api/{what}", content=body())
    assert response.status_code == 400 and says in response.json()["error"]


def test_doubtful_rows_are_found(client, store, tmp_path):
  """One row of the wrong class, one picture twice, one unlike all others."""
  opened = vm.Store.open(store)
  opened.relabel(["red/1.png"], ["green"])
  folder = tmp_path / "more"
  folder.mkdir()
  whole = (tmp_path / "photos" / "red" / "2.png").read_bytes()
  Image.open(tmp_path / "photos" / "red" / "2.png").save(folder / "copy.bmp")
  assert whole != (folder / "copy.bmp").read_bytes()
  for number in range(20):
    picture((60, 60, 60), 100 + number).save(folder / f"{number}.png")
  lone = np.zeros((24, 24, 3), np.uint8)
  lone[::2, :, 0], lone[:, ::2, 2] = 255, 255
  Image.fromarray(lone).save(folder / "lone.png")
  added = client.post("/api/add", json={"path": str(folder), "class": "more"})
  assert added.status_code == 200, added.text
  assert added.json()["added"] == 22
  found = {
    kind: client.post("/api/doubtful", json={"kind": kind}).json()["ids"]
    for kind in ("suspects", "duplicates", "outliers")
  }
  assert "red/1.png" in found["suspects"][:2]
  copy = next(i for i in vm.Store.open(store).ids if i.endswith("copy.bmp"))
  assert {"red/2.png", copy} <= set(found["duplicates"])
  assert found["outliers"][0].endswith("lone.png")
  for bad in ({}, {"kind": "all"}, {"kind": []}):
    assert client.post("/api/doubtful", json=bad).status_code == 400
  again = client.post("/api/add", json={"path": str(folder), "class": "more"})
  assert again.json()["added"] == 0
  assert again.json()["already_there"] == 22
  for bad in ({"path": ""}, {"path": 3}, {"path": str(tmp_path / "none")}, {}):
    assert client.post("/api/add", json=bad).status_code == 400


def test_a_picture_with_nothing_near_is_unknown(client, store, tmp_path):
  noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
  Image.fromarray(noise).save(tmp_path / "noise.png")
  ask = lambda path: client.post(
    "/api/ask?k=3", content=(tmp_path / path).read_bytes()
  ).json()
  assert ask("noise.png")["known"]  # Nothing has been measured yet.
  client.app.state.session.measure()
  assert not ask("noise.png")["known"]
  assert ask("photos/red/0.png")["known"]


def test_rows_are_filtered_and_cut(client):
  def rows(**given):
    response = client.post("/api/rows", json=given)
    assert response.status_code == 200, response.text
    return response.json()

  assert rows()["total"] == 12
  red = rows(classes=["red"], count=2)
  assert red["total"] == 4
  assert [row["class"] for row in red["rows"]] == ["red", "red"]
  assert rows(text="RED/3")["rows"][0]["id"] == "red/3.png"
  first = rows(count=1)["rows"][0]["id"]
  assert rows(newest_first=True, start=11)["rows"][0]["id"] == first
  among = rows(among=["green/1.png", "no", "red/0.png"])
  assert [row["id"] for row in among["rows"]] == ["green/1.png", "red/0.png"]


def test_a_picture_is_answered_by_its_rows(client, tmp_path):
  body = (tmp_path / "photos" / "red" / "2.png").read_bytes()
  found = client.post("/api/ask?name=new.png&k=3", content=body).json()
  assert found["prediction"] == "red"
  assert found["neighbors"][0]["id"] == "red/2.png"
  again = client.post(
    "/api/ask-again",
    json={"question": found["question"], "k": 3, "without": ["red/2.png"]},
  ).json()
  assert "red/2.png" not in [near["id"] for near in again["neighbors"]]
  assert len(again["neighbors"]) == 3
  for bad in ({"k": 0}, {"voter": "none"}, {"question": "gone"}):
    given = {"question": found["question"], **bad}
    refused = client.post("/api/ask-again", json=given)
    if bad == {"k": 0}:
      continue  # Zero is "not said": the default.
    assert refused.status_code == 400
    assert refused.json()["error"]
  refused = client.post("/api/ask", content=b"no picture")
  assert refused.status_code == 400
  assert "picture" in refused.json()["error"]


def test_the_voted_answer_is_that_of_the_library(client, store, tmp_path):
  body = (tmp_path / "photos" / "green" / "1.png").read_bytes()
  found = client.post("/api/ask?k=5&voter=rank&hyper=2", content=body).json()
  memory = vm.Store.open(store).load()
  encoder = vm.load_encoder("pixels")
  image = np.asarray(Image.open(tmp_path / "photos" / "green" / "1.png"))
  near = vm.search(encoder.encode([image]), memory, k=5)
  assert [n["id"] for n in found["neighbors"]] == near.ids[0].tolist()
  weights = [n["weight"] for n in found["neighbors"]]
  np.testing.assert_allclose(weights, 1 / (np.arange(5) + 2), rtol=1e-12)


def test_edits_wait_are_undone_and_applied(client, store):
  put = lambda edit: client.post("/api/pending", json=edit).json()["pending"]
  put({"kind": "relabel", "ids": ["red/0.png"], "to": "crimson"})
  listed = put({"kind": "remove", "ids": ["red/1.png", "red/2.png"]})
  listed = put({"kind": "remove", "ids": ["green/0.png"]})
  assert len(listed) == 3
  assert len(vm.Store.open(store)) == 12  # Nothing has happened yet.
  number = {"number": listed[2]["number"]}
  assert len(client.post("/api/undo", json=number).json()["pending"]) == 2
  assert client.post("/api/undo", json=number).status_code == 400
  found = client.post("/api/apply", json={"measure": True}).json()
  assert found["problem"] is None
  assert found["before"]["held"] == found["before"]["rows"] == 12
  assert found["after"]["held"] == 10
  assert found["num_rows"] == 10
  assert found["classes"]["crimson"] == 1
  opened = vm.Store.open(store)
  assert not {"red/1.png", "red/2.png"} & set(opened.ids.tolist())
  assert opened.verify()
  receipt = found["outcomes"][1]["receipt"]
  assert receipt == json.loads(opened.receipts()[-1].to_json())


def test_an_edit_that_fails_keeps_those_behind_it(client, store):
  put = lambda edit: client.post("/api/pending", json=edit)
  put({"kind": "remove", "ids": ["red/0.png"]})
  put({"kind": "rename", "old": "green", "to": "lime"})
  put({"kind": "remove", "ids": ["green/0.png"]})
  other = vm.Store.open(store)  # Somebody else was faster, twice.
  other.remove(["red/0.png"])
  other.rename_class("green", "grass")
  found = client.post("/api/apply", json={}).json()
  assert found["outcomes"][0]["gone"] == ["red/0.png"]
  assert "green" in found["problem"] and len(found["pending"]) == 2
  assert "green/0.png" in vm.Store.open(store).ids.tolist()
  for bad in (
    {"kind": "explode"},
    {"kind": "remove", "ids": []},
    {"kind": "remove", "ids": "red/1.png"},
    {"kind": "relabel", "ids": ["a"], "to": " "},
  ):
    assert put(bad).status_code == 400, bad


def test_other_writers_are_seen_and_thumbnails_forgotten(client, store):
  state = client.get("/api/state").json()
  address = "/api/picture?id=red/0.png"
  assert client.get(address).status_code == 200
  assert client.get(address + "&large").headers["content-type"] == "image/png"
  vm.Store.open(store).remove(["red/0.png"])
  after = client.get("/api/state").json()
  assert after["generation"] > state["generation"]
  assert after["num_rows"] == 11
  assert client.get(address).status_code == 404
  stale = {"generation": state["generation"], "positions": [0]}
  assert client.post("/api/at", json=stale).status_code == 400


def test_thumbnails_stay_below_their_bound():
  kept = Thumbnails(most_bytes=4000)
  rng = np.random.default_rng(0)
  image = rng.integers(0, 255, (300, 300, 3), dtype=np.uint8)
  for number in range(20):
    assert kept.get(f"row{number}", lambda: image)
  assert sum(len(v[0]) for v in kept._kept.values()) <= 4000 + 40_000
  assert kept.get("none", lambda: None) is None


def test_a_filter_of_fields():
  rows = Snapshot(
    generation=1,
    ids=np.array(["a", "b", "c"], object),
    labels=np.array([0, 0, -1], np.int32),
    texts=[b'{"by": "Ada"}', b'{"by": 3}', b"{}"],
    class_names=("x",),
  )
  chosen = lambda **given: select(rows, Filter(**given)).tolist()
  assert chosen(fields=(("by", "Ada"),)) == [0]
  assert chosen(fields=(("by", "3"),)) == [1]
  assert chosen(classes=(None,)) == [2]
  assert chosen(classes=("no such class",)) == []


def test_a_tab_and_the_command_line_see_one_list(client, store, capsys):
  def run(*words):
    capsys.readouterr()
    assert main([*words, "-s", str(store), "--json"]) == 0
    return json.loads(capsys.readouterr().out)

  edit = {"kind": "merge", "names": ["green"], "to": "red"}
  waiting = client.post("/api/pending", json=edit).json()["pending"]
  assert run("pending")["pending"] == waiting
  run("remove", "red/0.png", "--later")
  assert len(client.get("/api/state").json()["pending"]) == 2
  run("undo", "--all")
  assert client.post("/api/undo", json=waiting[0]).status_code == 400
  assert client.post("/api/pending", json=edit).status_code == 200
  # A list that was written before this server began.
  other = make_app(Session(str(store)), token=TOKEN, port=PORT)
  base = f"http://127.0.0.1:{PORT}/{TOKEN}"
  with TestClient(other, base_url=base) as second:
    second.headers["x-visual-memory"] = "1"
    assert len(second.get("/api/state").json()["pending"]) == 1
  assert run("apply", "--yes")["edits"][0]["kind"] == "merge"
  state = client.get("/api/state").json()
  assert state["pending"] == [] and state["classes"]["red"] == 8
