"""Published files: each format comes in whole."""

import json
import pathlib

import jax
import numpy as np
import published_layouts
import pytest
import torch_files
from golden import make_encoder_goldens as goldens
from published_files import (
  TINY,
  assert_equal_trees,
  clip_tensors,
  hub_tensors,
  load_tiny,
)
from safetensors.numpy import save_file

from visual_memory import checkpoints
from visual_memory.encoders import vit
from visual_memory.encoders.families import catalog
from visual_memory.encoders.published import params as params_lib
from visual_memory.encoders.published import torch_pickle


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
