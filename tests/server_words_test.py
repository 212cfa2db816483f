"""Words, errors and similarities in the served page."""

import encoders_words_test
import headless
import memory_cases
import numpy as np
import pytest
import server_browser_test
import server_test

import visual_memory as vm
from visual_memory.cli.main import main
from visual_memory.encoders.text import class_texts, text_encoder

tiny_clip = encoders_words_test.repository
store, client = server_test.store, server_test.client


@pytest.fixture
def worded(store, client, tiny_clip, tmp_path, monkeypatch):
  """The page of the same pictures, of a CLIP with random weights."""
  tokenizer = encoders_words_test.TOKENIZER
  monkeypatch.setattr(text_encoder, "load_tokenizer", lambda path: tokenizer)
  class_texts._loaded.cache_clear()
  path, photos = str(tmp_path / "worded"), str(tmp_path / "photos")
  assert main(["build", photos, "-s", path, "--encoder", str(tiny_clip)]) == 0
  app = server_test.make_app(
    server_test.Session(path), token=server_test.TOKEN, port=server_test.PORT
  )
  base = f"http://127.0.0.1:{server_test.PORT}/{server_test.TOKEN}"
  with server_test.TestClient(app, base_url=base) as client:
    client.headers["x-visual-memory"] = "1"
    yield client, path
  class_texts._loaded.cache_clear()


def map_of(client):
  """The drawn map."""
  found = {"done": 0}
  while "done" in found:
    found = client.post("/api/map", json={}).json()
  return found


def test_rows_are_found_by_words(worded, tiny_clip):
  client, path = worded
  client.app.state.session.warm()
  assert client.get("/api/state").json()["words"]
  found = client.post("/api/words", json={"text": " a cat "}).json()
  encoder = vm.load_encoder(str(tiny_clip))
  near = vm.search(
    vm.embed_texts(encoder, ["a cat"]), vm.Store.open(path).load(), k=12
  )
  assert [row["id"] for row in found["rows"]] == near.ids[0].tolist()
  assert found["rows"][0]["class"] == near.names[0, 0]
  drawn = map_of(client)
  said = {"question": found["question"]}
  near_text = client.post("/api/near", json=said).json()
  assert near_text["high"] == pytest.approx(float(near.similarities[0, 0]))
  best = drawn["positions"][int(np.argmax(near_text["similarities"]))]
  assert vm.Store.open(path).ids[best] == near.ids[0, 0]
  assert client.post("/api/words", json={"text": " "}).status_code == 400
  long = client.post("/api/words", json={"text": "cat " * 200})
  assert long.status_code == 400 and "Shorten it" in long.json()["error"]


def test_a_browser_looks_for_words(worded):
  client, _ = worded
  session = client.app.state.session
  session.warm()
  hostile = "<img src=x onerror=alert(1)> cat"
  with (
    headless.chromium() as browser,
    server_test.served(session) as address,
  ):
    with server_browser_test.page_at(browser, address) as page:
      first = "document.querySelector('[data-index=\"0\"]')?.title"
      for text in (hostile, "a cat"):
        best = session.by_words(text, 1)["rows"][0]["id"]
        page.fill("#words", text)
        page.press("#words", "Enter")
        page.wait_for_function(
          "(text) => document.getElementById('among').textContent"
          ".includes(`like “${text}”`)",
          arg=text,
        )
        page.wait_for_function(f"(best) => {first} === best", arg=best)
      page.click("#among button")
      page.wait_for_function(f"{first} === {session.store.ids[0]!r}")
      assert page.input_value("#words") == ""


def test_a_first_question_compiles_nothing_once_warm(worded, tmp_path):
  client, _ = worded
  client.app.state.session.warm()
  body = (tmp_path / "photos" / "red" / "2.png").read_bytes()
  with memory_cases.counted_compilations() as counted:
    assert client.post("/api/ask", content=body).status_code == 200
  assert not counted


def test_an_encoder_without_words_says_so(client):
  client.app.state.session.warm()
  assert not client.get("/api/state").json()["words"]
  refused = client.post("/api/words", json={"text": "a cat"})
  assert refused.status_code == 400
  assert "no text tower" in refused.json()["error"]


def test_the_map_knows_errors_and_similarities(client, store, tmp_path):
  vm.Store.open(store).relabel(["red/1.png"], ["green"])
  assert client.post("/api/near", json={"question": "x"}).status_code == 400
  drawn = map_of(client)
  names = drawn["class_names"]
  ids = vm.Store.open(store).ids[drawn["positions"]]
  row = ids.tolist().index("red/1.png")
  assert names[drawn["labels"][row]] == "green"
  assert names[drawn["predicted"][row]] == "red"
  wrong = np.array(drawn["labels"]) != np.array(drawn["predicted"])
  assert wrong.sum() == 1
  body = (tmp_path / "photos" / "red" / "2.png").read_bytes()
  asked = client.post("/api/ask?k=3", content=body).json()
  found = client.post("/api/near", json={"question": asked["question"]}).json()
  assert found["high"] == pytest.approx(1, abs=1e-5)
  assert ids[int(np.argmax(found["similarities"]))] == "red/2.png"
  # A row that is gone leaves the map, and what is similar goes with it.
  vm.Store.open(store).remove(["red/2.png"])
  found = client.post("/api/near", json={"question": asked["question"]}).json()
  assert len(found["similarities"]) == 11
  assert map_of(client)["complete"]
