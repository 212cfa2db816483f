"""Weights from elsewhere: fetched once, checked, or refused in a sentence."""

import functools
import http.server
import threading

import pytest
import torch_files
from golden import make_encoder_goldens as goldens
from published_files import assert_equal_trees, hub_tensors, load_tiny

from visual_memory.encoders.published import download as download_lib
from visual_memory.encoders.published import places


@pytest.fixture
def server(tmp_path, monkeypatch):
  """A local web server of tmp_path/web that counts requests."""
  monkeypatch.setenv("VISUAL_MEMORY_CACHE", str(tmp_path / "cache"))
  (tmp_path / "web").mkdir()

  class Handler(http.server.SimpleHTTPRequestHandler):
    requests = []

    def do_GET(self):
      self.requests.append(self.path)
      if self.path.startswith("/short"):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"too little")
      else:
        super().do_GET()

    def log_message(self, *args):
      pass

  handler = functools.partial(Handler, directory=str(tmp_path / "web"))
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    root = f"http://127.0.0.1:{httpd.server_port}"
    yield root, tmp_path / "web", Handler.requests
    httpd.shutdown()
    thread.join()


def test_a_checkpoint_is_downloaded_once_and_loads(server):
  root, folder, requests = server
  torch_files.write_pth(folder / "tiny.pth", hub_tensors())
  place = download_lib.Published(url=f"{root}/tiny.pth")
  path = download_lib.fetch(place, name="tiny")
  assert download_lib.fetch(place, name="tiny") == path
  assert len(requests) == 1
  assert_equal_trees(load_tiny(path), load_tiny(folder / "tiny.pth"))
  assert sorted(p.name for p in path.parent.iterdir()) == [
    "tiny.pth",
    "tiny.pth.sha256",
  ]


def test_a_file_that_changed_in_the_cache_is_an_error(server):
  root, folder, _ = server
  torch_files.write_pth(folder / "tiny.pth", hub_tensors())
  place = download_lib.Published(url=f"{root}/tiny.pth")
  path = download_lib.fetch(place, name="tiny")
  path.write_bytes(path.read_bytes() + b"x")
  with pytest.raises(ValueError, match="has sha256 .*, expected"):
    download_lib.fetch(place, name="tiny")


def test_a_download_must_have_the_published_sha256(server):
  root, folder, _ = server
  (folder / "tiny.pt").write_bytes(b"something else")
  place = download_lib.Published(url=f"{root}/tiny.pt", sha256="0" * 64)
  with pytest.raises(ValueError, match="expected 0000"):
    download_lib.fetch(place, name="tiny")
  assert not list(download_lib.cache_dir().iterdir())


@pytest.mark.parametrize("file", ["short.pth", "absent.pth"])
def test_a_download_that_fails_leaves_nothing(file, server):
  root, _, _ = server
  place = download_lib.Published(url=f"{root}/{file}")
  with pytest.raises(OSError, match="could not be downloaded.*pass the file"):
    download_lib.fetch(place, name="tiny")
  assert not list(download_lib.cache_dir().iterdir())


def test_a_file_url_is_an_address_too(tmp_path, monkeypatch):
  monkeypatch.setenv("VISUAL_MEMORY_CACHE", str(tmp_path / "cache"))
  (tmp_path / "weights.pth").write_bytes(b"weights")
  place = download_lib.Published(url=(tmp_path / "weights.pth").as_uri())
  assert download_lib.fetch(place, name="w").read_bytes() == b"weights"


def test_a_hub_id_goes_through_huggingface_hub(tmp_path, monkeypatch):
  import huggingface_hub

  goldens.write_hugging_face("dinov2", tmp_path)
  asked = []

  def download(repository, file):
    asked.append((repository, file))
    return str(tmp_path / file)

  monkeypatch.setattr(places, "_check_reachable", lambda *args: None)
  monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
  assert_equal_trees(load_tiny("someone/tiny-dinov2"), load_tiny(tmp_path))
  assert asked == [("someone/tiny-dinov2", "model.safetensors")]

  def fail(repository, file):
    raise huggingface_hub.errors.LocalEntryNotFoundError("offline")

  monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
  with pytest.raises(FileNotFoundError, match="Hugging Face hub: offline"):
    load_tiny("someone/tiny-dinov2")


def test_a_missing_extra_is_one_sentence(tmp_path, monkeypatch):
  goldens.write_hugging_face("dinov2", tmp_path)
  monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
  with pytest.raises(ImportError, match=r"visual_memory\[pretrained\]"):
    load_tiny(tmp_path)
