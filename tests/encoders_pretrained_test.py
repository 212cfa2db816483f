"""Published files: each format comes in whole; a bad file says what is bad."""

import functools
import http.server
import json
import pathlib
import threading

import jax
import numpy as np
import published_layouts
import pytest
import torch_files
from golden import make_encoder_goldens as goldens
from safetensors.numpy import save_file

from visual_memory import checkpoints
from visual_memory.encoders import vit
from visual_memory.encoders.families import catalog, clip, dino
from visual_memory.encoders.published import (
  download as download_lib,
)
from visual_memory.encoders.published import (
  params as params_lib,
)
from visual_memory.encoders.published import places, torch_pickle

TINY = goldens.TINY
_TEXT = goldens.TINY_TEXT


def hub_tensors(family="dinov2"):
  layout = published_layouts.hub(TINY[family])
  return published_layouts.random_tensors(layout, seed=3)


def clip_tensors():
  """As published: products in float16, the rest in float32, three integers."""
  layout = published_layouts.openai_clip(TINY["clip"], _TEXT)
  tensors = published_layouts.random_tensors(layout, seed=3)
  for name, value in tensors.items():
    if name in ("input_resolution", "context_length", "vocab_size"):
      tensors[name] = np.asarray(7, np.int64)
    elif ".ln_" not in name and "embedding" not in name and value.ndim:
      tensors[name] = value.astype(np.float16)
  return tensors


def load_tiny(path, family="dinov2"):
  is_clip = family == "clip"
  return params_lib.load_tower(
    path,
    template=vit.shapes(TINY[family]),
    namings=clip.IMAGE if is_clip else dino.IMAGE,
    others=clip.TEXT if is_clip else (),
  ).params


def assert_equal_trees(mine, its):
  assert jax.tree.structure(mine) == jax.tree.structure(its)
  for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(its), strict=True):
    np.testing.assert_array_equal(a, b, strict=True)


# Each format, read whole.


@pytest.mark.parametrize(
  "family", ["dinov2", "dinov2_reg", "dinov2_swiglu", "dino"]
)
def test_a_pth_file_fills_every_leaf(family, tmp_path):
  config, tensors = TINY[family], hub_tensors(family)
  torch_files.write_pth(tmp_path / "model.pth", tensors)
  params = load_tiny(tmp_path / "model.pth", family)
  template = vit.shapes(config)
  assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, template)
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("f")}
  block = params["blocks"][1]
  np.testing.assert_array_equal(
    block["attn"]["qkv"]["kernel"], tensors["blocks.1.attn.qkv.weight"].T
  )
  np.testing.assert_array_equal(
    params["patch_position"][2, 3], tensors["pos_embed"][0, 1 + 2 * 7 + 3]
  )
  # A patch is read row by row, color last.
  np.testing.assert_array_equal(
    params["patch_embed"]["kernel"][(1 * 4 + 2) * 3 + 1],
    tensors["patch_embed.proj.weight"][:, 1, 1, 2],
  )


@pytest.mark.parametrize("family", ["dinov2", "dinov2_swiglu", "dino"])
def test_hugging_face_gives_the_same_params_as_the_hub(family, tmp_path):
  tensors = hub_tensors(family)
  torch_files.write_pth(tmp_path / "model.pth", tensors)
  renamed = hugging_face_from_hub(tensors, swiglu=family == "dinov2_swiglu")
  layout = published_layouts.hugging_face_dino(TINY[family])
  if family == "dino":
    renamed = {v1_name(name): value for name, value in renamed.items()}
  assert {name: value.shape for name, value in renamed.items()} == layout
  save_file(renamed, tmp_path / "model.safetensors")
  expected = load_tiny(tmp_path / "model.pth", family)
  assert_equal_trees(load_tiny(tmp_path, family), expected)  # The directory.
  assert_equal_trees(
    load_tiny(tmp_path / "model.safetensors", family), expected
  )


def hugging_face_from_hub(tensors, *, swiglu):
  """The conversion that made the published Hugging Face files."""
  changes = [
    ("cls_token", "embeddings.cls_token"),
    ("mask_token", "embeddings.mask_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
    ("attn.proj", "attention.output.dense"),
    ("ls1.gamma", "layer_scale1.lambda1"),
    ("ls2.gamma", "layer_scale2.lambda1"),
    ("blocks.", "encoder.layer."),
  ]
  if swiglu:
    changes += [("mlp.w12", "mlp.weights_in"), ("mlp.w3", "mlp.weights_out")]
  renamed = {}
  for name, value in tensors.items():
    for old, new in changes:
      name = name.replace(old, new)
    if name.startswith("norm."):
      name = f"layer{name}"
    if "attn.qkv" in name:
      for part, piece in zip(
        ("query", "key", "value"), np.split(value, 3), strict=True
      ):
        renamed[name.replace("attn.qkv", f"attention.attention.{part}")] = piece
    else:
      renamed[name] = value
  return renamed


def v1_name(name):
  """From Hugging Face's names for DINOv2 to those for ViT."""
  for old, new in (
    ("norm1", "layernorm_before"),
    ("norm2", "layernorm_after"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
  ):
    name = name.replace(old, new)
  return name


def test_clip_archives_hold_both_towers_in_mixed_precision(tmp_path):
  tensors = clip_tensors()
  torch_files.write_torchscript(tmp_path / "clip.pt", tensors)
  params = load_tiny(tmp_path / "clip.pt", "clip")
  np.testing.assert_array_equal(
    params["projection"]["kernel"],
    tensors["visual.proj"].astype(np.float32),  # Not transposed.
    strict=True,
  )
  np.testing.assert_array_equal(
    params["norm_pre"]["scale"], tensors["visual.ln_pre.weight"]
  )


def test_shards_are_read_through_their_index(tmp_path):
  goldens.write_hugging_face("dinov2", tmp_path)
  whole = load_tiny(tmp_path)
  tensors = params_lib.read(tmp_path)
  (tmp_path / "model.safetensors").unlink()
  parts = {"model-1.safetensors": {}, "model-2.safetensors": {}}
  weight_map = {}
  for index, (name, value) in enumerate(tensors.items()):
    file = f"model-{1 + index % 2}.safetensors"
    parts[file][name] = value
    weight_map[name] = file
  for file, part in parts.items():
    save_file(part, tmp_path / file)
  index = tmp_path / "model.safetensors.index.json"
  index.write_text(json.dumps({"weight_map": weight_map}))
  assert_equal_trees(load_tiny(tmp_path), whole)
  (tmp_path / "model-2.safetensors").unlink()
  with pytest.raises(ValueError, match="lacks model-2.safetensors"):
    load_tiny(tmp_path)
  index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
  with pytest.raises(ValueError, match="points outside"):
    load_tiny(tmp_path)
  index.write_text("{")
  with pytest.raises(ValueError, match="index.json is damaged"):
    load_tiny(tmp_path)


def test_our_own_form_comes_back(tmp_path):
  params = vit.init(TINY["dinov2_reg"], seed=0)
  checkpoints.save(tmp_path / "mine", params)
  restored = load_tiny(tmp_path / "mine", "dinov2_reg")
  assert_equal_trees(restored, jax.tree.map(np.asarray, params))
  with pytest.raises(ValueError, match="another tree(.|\n)*unexpected: regist"):
    load_tiny(tmp_path / "mine", "dinov2")


def test_wrapped_names_and_tensors_nobody_needs(tmp_path):
  goldens.write_hugging_face("dinov2", tmp_path)
  expected = load_tiny(tmp_path)
  tensors = {
    f"dinov2.{name}": value for name, value in params_lib.read(tmp_path).items()
  }
  tensors["classifier.weight"] = np.zeros((10, 96), np.float32)
  tensors["classifier.bias"] = np.zeros(10, np.float32)
  save_file(tensors, tmp_path / "model.safetensors")
  assert_equal_trees(load_tiny(tmp_path), expected)


def test_a_published_name_loads_a_published_file(tmp_path):
  config = catalog.MODELS["dinov2_vits14"].image
  tensors = {
    name: np.full(shape, len(name), np.float32)
    for name, shape in published_layouts.hub(config).items()
  }
  assert len(tensors) == 175  # As the released file holds.
  torch_files.write_pth(tmp_path / "dinov2_vits14_pretrain.pth", tensors)
  params = catalog.load(
    "dinov2_vits14", tmp_path / "dinov2_vits14_pretrain.pth"
  ).params
  assert params["blocks"][11]["scale2"][0] == len("blocks.11.ls2.gamma")
  with pytest.raises(ValueError, match="no published encoder 'dinov2_vits'"):
    catalog.load("dinov2_vits", tmp_path)


@pytest.mark.parametrize(
  ("name", "count"), [("clip_vitb32", 302), ("clip_vitl14", 446)]
)
def test_clip_files_have_as_many_tensors_as_published(name, count):
  model = catalog.MODELS[name]
  layout = published_layouts.openai_clip(model.image, model.text)
  assert len(layout) == count + 3


# What is wrong with a file is said at once, all of it.


def broken(tensors, how):
  tensors = dict(tensors)
  if how == "missing":
    del tensors["blocks.1.norm1.bias"]
  elif how == "renamed":
    tensors["blocks.1.ls1.scale"] = tensors.pop("blocks.1.ls1.gamma")
  elif how == "transposed":
    name = "blocks.0.mlp.fc1.weight"
    tensors[name] = np.ascontiguousarray(tensors[name].T)
  elif how == "integer":
    tensors["norm.weight"] = np.ones(48, np.int64)
  elif how == "not finite":
    tensors["norm.weight"] = np.full(48, np.nan, np.float32)
  else:
    tensors["blocks.2.norm1.bias"] = np.zeros(48, np.float32)
  return tensors


BREAKS = {
  "missing": ["1 tensor does not fit", r"missing: blocks.1.norm1.bias \[48\]"],
  "renamed": [
    "2 tensors do not fit",
    r"missing: blocks.1.ls1.gamma \[48\]",
    r"unexpected: blocks.1.ls1.scale \[48\]",
  ],
  "transposed": [
    r"blocks.0.mlp.fc1.weight has shape \[48, 192\], expected \[192, 48\]"
  ],
  "integer": ["norm.weight is int64, expected floating point"],
  "not finite": ["norm.weight holds NaN or infinity"],
  "deeper": [r"unexpected: blocks.2.norm1.bias \[48\]"],
}


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_tensors_that_do_not_fit_are_all_listed(form, how, tmp_path):
  path = tmp_path / f"model.{form}"
  tensors = broken(hub_tensors(), how)
  write = torch_files.write_pth if form == "pth" else flipped(save_file)
  write(path, tensors)
  for pattern in BREAKS[how]:
    with pytest.raises(ValueError, match=pattern) as error:
      load_tiny(path)
    assert str(path) in str(error.value)


def flipped(save):
  return lambda path, tensors: save(tensors, path)


def test_another_model_is_an_error(tmp_path):
  torch_files.write_pth(tmp_path / "model.pth", hub_tensors("dinov2_reg"))
  with pytest.raises(ValueError, match="unexpected: register_tokens"):
    load_tiny(tmp_path / "model.pth")
  with pytest.raises(ValueError, match="missing: visual.class_embedding"):
    load_tiny(tmp_path / "model.pth", "clip")
  goldens.write_hugging_face("dino", tmp_path)
  with pytest.raises(ValueError, match="nothing in this layout gives blocks.0"):
    load_tiny(tmp_path, "dinov2")


@pytest.mark.parametrize("form", ["pth", "safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_an_error(form, kept, tmp_path):
  path = tmp_path / f"model.{form}"
  write = torch_files.write_pth if form == "pth" else flipped(save_file)
  write(path, hub_tensors())
  raw = path.read_bytes()
  path.write_bytes(raw[: int(kept * len(raw))])
  with pytest.raises(ValueError, match="damaged or cut short"):
    load_tiny(path)


def test_a_flipped_bit_in_a_pth_is_an_error(tmp_path):
  path = tmp_path / "model.pth"
  torch_files.write_pth(path, hub_tensors())
  raw = bytearray(path.read_bytes())
  raw[len(raw) // 2] ^= 1
  path.write_bytes(raw)
  with pytest.raises(ValueError, match="Bad CRC-32"):
    load_tiny(path)


def test_what_is_not_there_or_not_known(tmp_path):
  with pytest.raises(FileNotFoundError, match="There is no file or directory"):
    catalog.load("dino_vits8", "absent/dino.pth")  # No hub id.
  with pytest.raises(
    ValueError, match="holds no weights: neither model.safetensors"
  ):
    catalog.load("dino_vits8", tmp_path)
  (tmp_path / "notes.txt").write_text("no weights here")
  with pytest.raises(ValueError, match="is no PyTorch file"):
    catalog.load("dino_vits8", tmp_path / "notes.txt")


# A pickle cannot run code.


def call(module, name, argument):
  """Opcodes that import a function and call it."""
  body = f"c{module}\n{name}\n(X".encode()
  raw = str(argument).encode()
  return body + len(raw).to_bytes(4, "little") + raw + b"tR0"


@pytest.mark.parametrize(
  ("module", "name"),
  [
    ("os", "system"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("pathlib", "Path"),
    ("torch", "load"),
    ("torch.nn.modules.linear", "Linear"),
    ("numpy", "load"),
    ("visual_memory.encoders.published.torch_pickle", "os"),
  ],
)
def test_a_pickle_with_code_is_refused(module, name, tmp_path):
  path = tmp_path / "model.pth"
  trace = tmp_path / "it_ran"
  torch_files.write_pth(
    path, hub_tensors(), tail=call(module, name, f"touch {trace}")
  )
  with pytest.raises(torch_pickle.UnsafeFileError) as error:
    load_tiny(path)
  assert f"{module}.{name}" in str(error.value) and str(path) in str(
    error.value
  )
  assert not trace.exists()


def test_a_stand_in_cannot_be_turned_into_code(tmp_path):
  # BUILD on a stand-in's class: no attribute takes effect.
  tail = b"c__torch__\nM\n}X\x08\x00\x00\x00childrenK\x01sb0"
  torch_files.write_pth(tmp_path / "model.pth", hub_tensors(), tail=tail)
  with pytest.raises(torch_pickle.UnsafeFileError, match="sets attributes"):
    torch_pickle.read(tmp_path / "model.pth")


@pytest.mark.parametrize(
  ("offset", "shape", "strides", "message"),
  [
    (0, (5, 5), (5, 1), "beyond its storage of 24 values"),
    (20, (5,), (1,), "beyond its storage of 24 values"),
    (0, (2, 2), (1 << 40, 1), "beyond its storage"),
    (0, (2,), (-1,), "negative"),
    (-1, (2,), (1,), "negative"),
    (0, (2, 2), (1,), "strides that do not fit"),
  ],
)
def test_a_tensor_stays_inside_its_storage(offset, shape, strides, message):
  storage = np.arange(24, dtype=np.float32)
  with pytest.raises(ValueError, match=message):
    torch_pickle._tensor(storage, offset, shape, strides)


def test_views_share_a_storage():
  storage = np.arange(24, dtype=np.float32)
  view = torch_pickle._tensor(storage, 2, (3, 2), (1, 4))
  np.testing.assert_array_equal(view, [[2, 6], [3, 7], [4, 8]])
  assert torch_pickle._tensor(storage, 0, (0, 3), (3, 1)).shape == (0, 3)


# torch itself, where it is installed.


def test_files_of_torch_save_are_read_exactly(tmp_path):
  torch = pytest.importorskip("torch", reason="writes the files that are read")
  base = torch.randn(4, 6)
  tensors = {
    "plain": base,
    "transposed": base.T,
    "slice": base[1:, ::2],
    "half": base.half(),
    "bfloat16": base.bfloat16(),
    "double": base.double(),
    "long": torch.arange(5),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
    "parameter": torch.nn.Parameter(base[0]),
    "nested": {"inner": base[2]},
  }
  torch.save(tensors, tmp_path / "t.pth")
  found = torch_pickle.read(tmp_path / "t.pth")
  tensors["nested.inner"] = tensors.pop("nested")["inner"]
  assert found.keys() == tensors.keys()
  for name, tensor in tensors.items():
    exact = tensor.detach()
    if tensor.dtype == torch.bfloat16:
      assert found[name].dtype.name == "bfloat16"
      exact, found[name] = exact.float(), found[name].astype(np.float32)
    np.testing.assert_array_equal(found[name], exact.numpy(), strict=True)
  torch.save(tensors, tmp_path / "old", _use_new_zipfile_serialization=False)
  with pytest.raises(ValueError, match="of torch before 1.6"):
    torch_pickle.read(tmp_path / "old")


def test_archives_of_torch_jit_are_read_exactly(tmp_path):
  torch = pytest.importorskip("torch", reason="writes the files that are read")
  tensors = clip_tensors()
  model = torch_modules(torch, tensors)
  torch.jit.script(model).save(tmp_path / "clip.pt")
  found = torch_pickle.read(tmp_path / "clip.pt")
  assert found.keys() == tensors.keys()
  for name, value in tensors.items():
    np.testing.assert_array_equal(found[name], value, strict=True)
  torch_files.write_torchscript(tmp_path / "ours.pt", tensors)
  assert_equal_trees(
    load_tiny(tmp_path / "clip.pt", "clip"),
    load_tiny(tmp_path / "ours.pt", "clip"),
  )


def torch_modules(torch, tensors):
  """Nested torch modules that hold tensors under dotted names."""

  class Holder(torch.nn.Module):
    def forward(self, x):
      return x

  root = Holder()
  for name, value in tensors.items():
    *folders, leaf = name.split(".")
    node = root
    for folder in folders:
      if not hasattr(node, folder):
        node.add_module(folder, Holder())
      node = getattr(node, folder)
    tensor = torch.from_numpy(np.array(value))
    if tensor.is_floating_point():
      node.register_parameter(leaf, torch.nn.Parameter(tensor))
    else:
      node.register_buffer(leaf, tensor)
  return root


def test_our_pth_files_are_what_torch_reads(tmp_path):
  torch = pytest.importorskip(
    "torch", reason="reads the files that are written"
  )
  tensors = hub_tensors()
  torch_files.write_pth(tmp_path / "model.pth", tensors)
  found = torch.load(tmp_path / "model.pth", weights_only=True)
  assert found.keys() == tensors.keys()
  for name, value in tensors.items():
    np.testing.assert_array_equal(found[name].numpy(), value, strict=True)


# Fingerprints, downloads and the hub.


def test_a_fingerprint_is_of_names_shapes_and_values():
  params = {"a": {"kernel": np.arange(6, dtype="f").reshape(2, 3)}, "b": 1.5}
  changes = [
    {"a": {"kernel": params["a"]["kernel"] + 1e-6}, "b": 1.5},
    {"a": {"kernel": params["a"]["kernel"].reshape(3, 2)}, "b": 1.5},
    {"a": {"kernels": params["a"]["kernel"]}, "b": 1.5},
    {"a": {"kernel": params["a"]["kernel"].astype("d")}, "b": 1.5},
    {"a": params["a"], "b": 2.5},
  ]
  prints = [params_lib.fingerprint(tree) for tree in (params, *changes)]
  assert len(set(prints)) == len(prints)
  on_device = jax.tree.map(np.asarray, jax.device_put(params["a"]))
  again = {"a": on_device, "b": 1.5}
  assert params_lib.fingerprint(again) == prints[0]
  assert prints[0] == (  # It must not change between versions.
    "b7822501bb08d22aba30f4c9569b6d2c0d36fa97fb139c1d435ae43555315cbf"
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


def test_provenance_is_written_down_for_every_name():
  with pytest.raises(ValueError, match="No weights are published for 'resnet'"):
    catalog.fetch("resnet")
  root = pathlib.Path(__file__).parents[1]
  text = (root / "third_party" / "weights.md").read_text()
  for name, model in catalog.MODELS.items():
    assert f"| `{name}` |" in text
    place = model.address
    assert place or model.hub
    assert (place.url if place else model.hub) in text


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
