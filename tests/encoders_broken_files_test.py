"""A bad file of any family is one short error, before anything is built."""

import dataclasses
import functools

import numpy as np
import pytest
import torch_files
from golden import make_encoder_goldens as goldens
from published_files import hub_tensors, load_tiny, random_file
from safetensors.numpy import save_file

from visual_memory.encoders import resnet, vit
from visual_memory.encoders.families import catalog
from visual_memory.encoders.published import convert, torch_pickle
from visual_memory.encoders.published import params as params_lib
from visual_memory.encoders.settings import ResNetConfig


# Models of a family differ in sizes that are the same in all that is made here.
@functools.cache
def shapes_of(config):
  return (resnet if isinstance(config, ResNetConfig) else vit).shapes(config)


@functools.cache
def chosen(key, index):
  """A small tower of a family with as many leaves as any.

  None is of a layout that describes no model of the family whole.
  """
  family, most = catalog.FAMILIES[key], None
  for model in family.models.values():
    config = smaller(model.image)
    leaves = convert._leaves(shapes_of(config))
    naming = family.image[index]
    whole = all(convert._source(leaf, naming) for leaf in leaves)
    if whole and (most is None or len(leaves) > most[1]):
      most = config, len(leaves)
  return most and most[0]


def smaller(config):
  if isinstance(config, ResNetConfig):
    return dataclasses.replace(
      config, layers=(1, 2, 1, 1), width=8, image_size=64, projection=16
    )
  return dataclasses.replace(
    config,
    dim=48,
    depth=2,
    num_heads=3,
    mlp_dim=96,
    grid=3,
    image_size=3 * config.patch_size,
    projection=config.projection and 16,
  )


def small(key, index):
  """A small tower of a family, and a file's random tensors."""
  config = chosen(key, index)
  naming = catalog.FAMILIES[key].image[index]
  return config, random_file(shapes_of(config), naming)


LAYOUTS = [
  (key, index)
  for key, family in catalog.FAMILIES.items()
  for index in range(len(family.image))
]
PARTS = [("dinov2", 4)]
"""Layouts that describe no model of their family whole."""
FILES = [layout for layout in LAYOUTS if layout not in PARTS]
"""Every family, and each of the layouts that its files have."""


def test_every_layout_of_every_family_is_among_them():
  assert [layout for layout in LAYOUTS if not chosen(*layout)] == PARTS
  covered = {catalog.FAMILIES[key].image[index] for key, index in FILES}
  for key, family in catalog.FAMILIES.items():
    assert any(key == one for one, _ in FILES)
    assert covered.issuperset(family.image)


def load(path, key, config):
  family = catalog.FAMILIES[key]
  return params_lib.load_tower(
    path,
    template=shapes_of(config),
    namings=family.image,
    others=family.text,
    unused=family.unused,
  )


@pytest.mark.parametrize("how", ["missing", "extra", "transposed"])
@pytest.mark.parametrize(("key", "index"), FILES)
def test_one_wrong_tensor_is_named(key, index, how, tmp_path):
  config, tensors = small(key, index)
  path = tmp_path / "model.safetensors"
  save_file(tensors, path)
  found = load(path, key, config)
  assert found.origin == catalog.FAMILIES[key].image[index].origin
  name = next(
    name
    for name, value in tensors.items()
    if ".1." in name and value.ndim > 1 and len(set(value.shape[:2])) == 2
  )
  if how == "missing":
    del tensors[name]
  elif how == "extra":
    name = "stranger.weight"
    tensors[name] = np.zeros((2, 3), np.float32)
  else:
    tensors[name] = np.ascontiguousarray(tensors[name].T)
  save_file(tensors, path)
  with pytest.raises(ValueError, match="1 tensor does not fit") as error:
    load(path, key, config)
  assert name in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("form", ["pth", "safetensors"])
@pytest.mark.parametrize(("key", "index"), FILES)
def test_a_part_of_a_file_is_damaged(key, index, form, tmp_path):
  config, tensors = small(key, index)
  path = write(tmp_path, form, tensors)
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(ValueError, match="damaged or cut short") as error:
    load(path, key, config)
  assert len(str(error.value)) < 300


@pytest.mark.parametrize(("key", "index"), FILES)
def test_code_in_a_file_does_not_run(key, index, tmp_path):
  config, tensors = small(key, index)
  trace = tmp_path / "it_ran"
  command = f"touch {trace}".encode()
  size = len(command).to_bytes(4, "little")
  tail = b"cos\nsystem\n(X" + size + command + b"tR0"
  torch_files.write_pth(tmp_path / "model.pth", tensors, tail=tail)
  with pytest.raises(torch_pickle.UnsafeFileError, match="os.system"):
    load(tmp_path / "model.pth", key, config)
  assert not trace.exists()


@pytest.mark.parametrize(("key", "index"), FILES)
def test_a_file_of_another_family_is_one_error(key, index, tmp_path):
  config, _ = small(key, index)
  other = ("siglip", 0) if key != "siglip" else ("dinov2", 0)
  path = write(tmp_path, "safetensors", small(*other)[1])
  with pytest.raises(ValueError, match="tensors do not fit") as error:
    load(path, key, config)
  assert str(path) in str(error.value) and len(str(error.value)) < 600


def write(folder, form, tensors):
  path = folder / f"model.{form}"
  if form == "pth":
    torch_files.write_pth(path, tensors)
  else:
    save_file(tensors, path)
  return path


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
  path = write(tmp_path, form, broken(hub_tensors(), how))
  for pattern in BREAKS[how]:
    with pytest.raises(ValueError, match=pattern) as error:
      load_tiny(path)
    assert str(path) in str(error.value)


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
  path = write(tmp_path, form, hub_tensors())
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
