"""Oblong images, poolings, layers, insides, downloads."""

import functools
import http.server
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_files
from golden import make_encoder_goldens as goldens
from PIL import Image
from published_files import assert_equal_trees, hub_tensors, load_tiny

import visual_memory as vm
from visual_memory.data.preprocess import Preprocess
from visual_memory.encoders import vit
from visual_memory.encoders.embedding.embed_patches import patch_encoder
from visual_memory.encoders.encoder import make_encoder
from visual_memory.encoders.families import family
from visual_memory.encoders.outputs import POOLINGS
from visual_memory.encoders.parts import vit_parts, with_crops
from visual_memory.encoders.published import places
from visual_memory.encoders.tokens import tokens_of
from visual_memory.rerank import by_patches


@pytest.fixture(scope="module")
def tiny():
  config = goldens.TINY["dinov2_reg"]
  return config, vit.init(config, seed=0)


@pytest.fixture(scope="module")
def images():
  random = np.random.RandomState(0)
  shapes = ((50, 30), (30, 50), (41, 41))
  return [random.randint(0, 256, (*s, 3)).astype("u1") for s in shapes]


def encoder_of(tiny, **options):
  config, params = tiny
  given = {"preprocess": Preprocess(resize=32, crop=28), "precision": "float32"}
  precision = options.get("precision", "float32")
  parts = vit_parts(params, config, **(given | options))
  return make_encoder("tiny", parts, precision=precision)


OBLONG = Preprocess(resize=(24, 44), crop=(20, 36))


def test_oblong_images_keep_their_ratio(tiny, images):
  for image in images:
    height, width = OBLONG.resized_shape(*image.shape[:2])
    assert height >= 24 and width >= 44 and (height == 24 or width == 44)
    assert abs(width / height - image.shape[1] / image.shape[0]) < 0.05
    assert OBLONG(image).shape == (20, 36, 3)
  encoder = encoder_of(tiny, preprocess=OBLONG)
  assert encoder.grid == (5, 9) and "20 x 36" in repr(encoder)
  config, params = tiny
  pixels = np.stack([OBLONG(image) for image in images])
  forward = jax.jit(functools.partial(vit.forward, config=config))
  expected = np.array(forward(params, pixels).embedding)
  expected /= np.linalg.norm(expected, axis=1, keepdims=True)
  np.testing.assert_allclose(encoder.encode(images), expected, atol=1e-5)
  with pytest.raises(ValueError, match="20 x 36, and square ones"):
    _ = encoder.preprocess.size


def test_oblong_images_are_embedded_whole(tiny, tmp_path):
  source = vm.open_source("digits", split="test")
  encoder = encoder_of(tiny, preprocess=OBLONG)
  embedded = vm.embed(encoder, source)
  assert embedded.embeddings.shape == (len(source), 48)
  np.testing.assert_allclose(
    embedded.embeddings[:3],
    encoder.encode([source[i].image for i in range(3)]),
    atol=1e-5,
  )


@pytest.mark.parametrize("crops", [5, 10])
def test_several_crops_are_averaged(tiny, images, crops):
  config, params = tiny
  given = {"preprocess": Preprocess(resize=28, crop=28), "precision": "float32"}
  parts = vit_parts(params, config, **given)
  encoder = make_encoder("tiny", with_crops(parts, crops))
  found = encoder.encode(images)
  one = encoder_of(tiny, **given)
  forward = jax.jit(one.forward)
  assert encoder.fingerprint != one.fingerprint
  assert encoder.preprocess.shape == (32, 32) and encoder.grid is None
  for image, row in zip(images, found, strict=True):
    seen = Preprocess(resize=32, crop=32)(image)
    ends = slice(0, 28), slice(4, 32)
    views = [seen[2:30, 2:30], *(seen[y, x] for y in ends for x in ends)]
    if crops == 10:
      views += [view[:, ::-1] for view in views]
    rows = np.asarray(forward(np.stack(views)))
    mean = np.mean(rows, axis=0, dtype=np.float64)
    np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def test_crops_are_an_option_of_every_encoder():
  image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
  once, often = (
    vm.load_encoder("pixels", size=8, crops=crops) for crops in (1, 5)
  )
  assert once.dim == often.dim and once.fingerprint != often.fingerprint
  row = often.encode(image)
  np.testing.assert_allclose(np.linalg.norm(row, axis=1), 1, atol=1e-6)
  assert np.abs(row - once.encode(image)).max() > 1e-3
  with pytest.raises(ValueError, match="crops cannot be 3; it can be: 1, 5"):
    vm.load_encoder("pixels", crops=3)
  with pytest.raises(ValueError, match="no patches .* and one crop"):
    patch_encoder(often)
  with pytest.raises(ValueError, match="has 5 crops, and patches are compared"):
    by_patches.patch_tokens(often, [image], patch=4)


def test_a_crop_larger_than_the_image_is_refused():
  with pytest.raises(ValueError, match="does not fit"):
    Preprocess(resize=(24, 30), crop=(20, 36))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_poolings_are_options(tiny, images, pooling):
  encoder = encoder_of(tiny, pooling=pooling)
  outputs = tokens_of(encoder, images)
  rows = np.array(POOLINGS[pooling](outputs))
  rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  np.testing.assert_allclose(encoder.encode(images), rows, atol=1e-6)
  assert encoder.dim == (96 if pooling == "class_and_mean" else 48)
  with pytest.raises(ValueError, match="pooling cannot be 'max'"):
    encoder_of(tiny, pooling="max")


def test_patches_of_any_layers(tiny, images):
  encoder = encoder_of(tiny, layers=(0, 1))
  outputs = tokens_of(encoder, images, blocks=(0, 1), attention=(1,))
  pixels = jnp.asarray([encoder.preprocess(image) for image in images])
  found = encoder.apply_patches(encoder.params, pixels)
  first = tiny[0].num_first
  assert first == 5 and found.shape == (3, 49, 96)
  for layer in (0, 1):
    np.testing.assert_allclose(
      found[..., 48 * layer : 48 * (layer + 1)],
      outputs.blocks[layer][:, first:],
      atol=1e-5,
    )
  assert outputs.attention[1].shape == (3, 3, 54, 54)
  np.testing.assert_allclose(outputs.attention[1].sum(-1), 1, atol=1e-5)
  assert encoder.patches_form != encoder_of(tiny).patches_form
  with pytest.raises(ValueError, match="no block 2 among"):
    encoder_of(tiny, layers=(2,))
  with pytest.raises(ValueError, match="neither blocks nor attention"):
    tokens_of(vm.load_encoder("pixels"), images)


def test_half_precisions_and_what_they_cost(tiny, images):
  rows = {
    precision: encoder_of(tiny, precision=precision).encode(images)
    for precision in ("float32", "bfloat16", "float16")
  }
  cost = {p: 1 - (rows["float32"] * rows[p]).sum(axis=1).min() for p in rows}
  # float16 has three bits more than bfloat16: its error squared is smaller.
  assert 0 < cost["bfloat16"] < 1e-4 and cost["float16"] < cost["bfloat16"] / 8


def test_the_module_trains_further(tiny):
  """apply is pure, and the module's gradients are those of apply."""
  config, params = tiny
  pixels = goldens.pixels_of((28, 28))

  def loss(params, pixels):
    return (vit.module(params, config)(pixels).embedding ** 2).sum()

  encoder = encoder_of(tiny)
  pure = jax.jit(jax.grad(lambda p, x: (encoder.apply(p, x) ** 2).sum()))
  for a, b in zip(
    jax.tree.leaves(jax.jit(jax.grad(loss))(params, pixels)),
    jax.tree.leaves(pure(params, pixels)),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.parametrize(
  ("module", "name", "options"),
  [
    ("clip", "CLIPImageProcessorPil",
     {"size": {"shortest_edge": 32}, "crop_size": 28}),
    ("bit", "BitImageProcessorPil",
     {"size": {"shortest_edge": 37}, "crop_size": 28}),
    ("vit", "ViTImageProcessorPil", {"size": {"height": 28, "width": 28}}),
    ("siglip", "SiglipImageProcessorPil",
     {"size": {"height": 28, "width": 28}}),
  ],
)  # fmt: skip
def test_preprocessing_is_that_of_transformers(
  module, name, options, images, monkeypatch
):
  """With Pillow before its version 13, whose order ours is for all pictures."""
  resize = Image.Image.resize

  def rows_first(self, size, resample=None, **options):
    return resize(
      resize(self, (size[0], self.height), resample), size, resample, **options
    )

  monkeypatch.setattr(Image.Image, "resize", rows_first)
  pytest.importorskip("torch", reason="the live comparison needs torch")
  pytest.importorskip("transformers", reason="needs transformers")
  import importlib

  home = f"transformers.models.{module}.image_processing_pil_{module}"
  processor = getattr(importlib.import_module(home), name)(**options)
  ours = family.from_transformers(processor.to_dict())
  for image in images:
    theirs = processor(image, return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(
      ours(image), theirs.transpose(1, 2, 0), atol=2e-6
    )


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
    thread = threading.Thread(
      target=httpd.serve_forever, args=(0.01,), daemon=True
    )
    thread.start()
    root = f"http://127.0.0.1:{httpd.server_port}"
    yield root, tmp_path / "web", Handler.requests
    httpd.shutdown()
    thread.join()


def test_a_checkpoint_is_downloaded_once_and_loads(server):
  root, folder, requests = server
  torch_files.write_pth(folder / "tiny.pth", hub_tensors())
  place = places.Published(url=f"{root}/tiny.pth")
  path = places.fetch(place, name="tiny")
  assert places.fetch(place, name="tiny") == path
  assert len(requests) == 1
  assert_equal_trees(load_tiny(path), load_tiny(folder / "tiny.pth"))
  assert sorted(p.name for p in path.parent.iterdir()) == [
    "tiny.pth",
    "tiny.pth.sha256",
  ]


def test_a_file_that_changed_in_the_cache_is_an_error(server):
  root, folder, _ = server
  torch_files.write_pth(folder / "tiny.pth", hub_tensors())
  place = places.Published(url=f"{root}/tiny.pth")
  path = places.fetch(place, name="tiny")
  path.write_bytes(path.read_bytes() + b"x")
  with pytest.raises(ValueError, match="has sha256 .*, expected"):
    places.fetch(place, name="tiny")


def test_a_download_must_have_the_published_sha256(server):
  root, folder, _ = server
  (folder / "tiny.pt").write_bytes(b"something else")
  place = places.Published(url=f"{root}/tiny.pt", sha256="0" * 64)
  with pytest.raises(ValueError, match="expected 0000"):
    places.fetch(place, name="tiny")
  assert not list(places.cache_dir().iterdir())


@pytest.mark.parametrize("file", ["short.pth", "absent.pth"])
def test_a_download_that_fails_leaves_nothing(file, server):
  root, _, _ = server
  place = places.Published(url=f"{root}/{file}")
  with pytest.raises(OSError, match="could not be downloaded.*pass the file"):
    places.fetch(place, name="tiny")
  assert not list(places.cache_dir().iterdir())


def test_a_file_url_is_an_address_too(tmp_path, monkeypatch):
  monkeypatch.setenv("VISUAL_MEMORY_CACHE", str(tmp_path / "cache"))
  (tmp_path / "weights.pth").write_bytes(b"weights")
  place = places.Published(url=(tmp_path / "weights.pth").as_uri())
  assert places.fetch(place, name="w").read_bytes() == b"weights"


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
