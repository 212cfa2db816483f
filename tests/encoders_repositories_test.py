"""Repositories by what they say of themselves: names people type, configs."""

import json
import socket

import numpy as np
import published_layouts
import pytest
import torch_files
from golden import make_encoder_goldens as goldens
from safetensors.numpy import load_file, save_file

from visual_memory.encoders import vit
from visual_memory.encoders.encoder import list_encoders, load_encoder
from visual_memory.encoders.families import catalog, family
from visual_memory.encoders.published import places
from visual_memory.encoders.text import text_tower

SMALL = {
  "model_type": "dinov2",
  "hidden_size": 48,
  "num_hidden_layers": 2,
  "num_attention_heads": 3,
  "patch_size": 4,
  "image_size": 28,
}
PROCESSOR = {
  "image_processor_type": "BitImageProcessor",
  "size": {"shortest_edge": 32},
  "crop_size": {"height": 28, "width": 28},
  "do_center_crop": True,
  "resample": 3,
  "image_mean": [0.5, 0.5, 0.5],
  "image_std": [0.25, 0.25, 0.25],
}


@pytest.fixture
def repository(tmp_path):
  """A small DINOv2 as the hub has it."""
  goldens.write_hugging_face("dinov2", tmp_path)
  write(tmp_path, "config.json", SMALL)
  write(tmp_path, "preprocessor_config.json", PROCESSOR)
  return tmp_path


def write(folder, name, content):
  (folder / name).write_text(json.dumps(content))


def test_a_directory_says_what_it_is(repository):
  encoder = load_encoder(str(repository))
  assert (encoder.name, encoder.dim) == ("dinov2_48x2x4", 48)
  assert encoder.apply.config.position_rule == "plain"
  assert encoder.preprocess.resize == 32
  assert encoder.preprocess.crop_offset == "floor"
  assert encoder.preprocess.std == (0.25, 0.25, 0.25)
  again = load_encoder(str(repository), preprocess=encoder.preprocess)
  assert again.fingerprint == encoder.fingerprint
  image = np.random.RandomState(0).randint(0, 256, (40, 50, 3)).astype("u1")
  np.testing.assert_allclose(
    np.linalg.norm(encoder.encode([image])), 1, atol=1e-5
  )


def test_the_copy_elsewhere_is_the_same_encoder(repository, tmp_path_factory):
  other = tmp_path_factory.mktemp("elsewhere")
  for file in repository.iterdir():
    (other / file.name).write_bytes(file.read_bytes())
  names = [str(repository), str(other)]
  assert len({load_encoder(name).fingerprint for name in names}) == 1


def test_a_hub_id_is_one_of_the_names(repository, monkeypatch):
  monkeypatch.setattr(
    places,
    "_hub_file",
    lambda repo, name: places._existing(repository / name),
  )
  encoder = load_encoder("hf-hub:someone/small-dinov2")
  assert encoder.fingerprint == load_encoder(str(repository)).fingerprint
  for name, model in catalog.MODELS.items():
    if model.hub:
      assert places.is_repository(model.hub), name


def test_no_network_is_said_once_and_at_once(monkeypatch):
  asked = []

  def refuse(address, timeout):
    asked.append(address)
    raise OSError("no route")

  monkeypatch.setattr(socket, "create_connection", refuse)
  monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
  monkeypatch.setattr("urllib.request.getproxies", dict)
  with pytest.raises(FileNotFoundError, match="no network to fetch") as error:
    load_encoder("nobody/has-this-one")
  assert len(asked) == 1 and "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ({"model_type": "bert"}, "no encoder that is known here.*'bert'"),
    ({}, "it has no config.json"),
    ({**SMALL, "hidden_size": None}, "config.json of .* cannot be understood"),
  ],
)
def test_what_cannot_be_understood_is_said(repository, content, message):
  write(repository, "config.json", content)
  with pytest.raises(ValueError, match=message) as error:
    load_encoder(str(repository))
  assert str(repository) in str(error.value)


def test_damaged_descriptions_are_named(repository):
  (repository / "preprocessor_config.json").write_text("{")
  with pytest.raises(ValueError, match="preprocessor_config.json is damaged"):
    load_encoder(str(repository))
  write(repository, "preprocessor_config.json", {**PROCESSOR, "resample": 5})
  with pytest.raises(ValueError, match="Pillow's filter 5"):
    load_encoder(str(repository))


def clip_repository(folder, *, layout, act):
  """A small CLIP in one of two layouts that says which activation it has."""
  config, text = goldens.TINY["clip"], goldens.TINY_TEXT
  if layout == "open_clip":
    tensors = published_layouts.openai_clip(config, text)
    skipped = ("input_resolution", "context_length", "vocab_size")
    tensors = {n: s for n, s in tensors.items() if n not in skipped}
  else:
    tensors = published_layouts.hugging_face_clip(config, text)
  tensors = published_layouts.random_tensors(tensors, seed=1)
  if layout == "open_clip":
    save_file(tensors, folder / "open_clip_model.safetensors")
    settings = {
      "embed_dim": 24,
      "vision_cfg": {"image_size": 28, "layers": 2, "width": 48,
                     "patch_size": 4, "head_width": 16},
      "text_cfg": {"width": 32, "heads": 2, "layers": 2, "vocab_size": 100,
                   "context_length": 10},
    }  # fmt: skip
    if act == "quick_gelu":
      settings["quick_gelu"] = True
    write(folder, "open_clip_config.json", {"model_cfg": settings})
    return
  torch_files.write_pth(folder / "pytorch_model.bin", tensors)
  tower = {
    "num_hidden_layers": 2,
    "hidden_size": 48,
    "image_size": 28,
    "patch_size": 4,
    "num_attention_heads": 3,
    "intermediate_size": 192,
  }
  words = {"num_hidden_layers": 2, "hidden_size": 32, "vocab_size": 100,
           "num_attention_heads": 2, "intermediate_size": 128,
           "max_position_embeddings": 10}  # fmt: skip
  if act == "gelu":
    tower["hidden_act"] = words["hidden_act"] = "gelu"
  write(folder, "config.json", {
    "model_type": "clip", "projection_dim": 24, "vision_config": tower,
    "text_config": words,
  })  # fmt: skip


@pytest.mark.parametrize("layout", ["open_clip", "hugging face"])
@pytest.mark.parametrize("act", ["gelu", "quick_gelu"])
def test_the_activation_is_that_of_the_description(layout, act, tmp_path):
  clip_repository(tmp_path, layout=layout, act=act)
  loaded = catalog.load(str(tmp_path))
  assert loaded.model.image.act == loaded.model.text.act == act
  assert loaded.model.image.projection == 24
  found = catalog.find(str(tmp_path))
  text = catalog.read_tower(
    found, template=text_tower.shapes(found.model.text),
    namings=found.family.text, others=found.family.image,
  )  # fmt: skip
  assert text.params["token_embedding"].shape == (100, 32)


def test_the_description_beside_a_file_is_believed_too(tmp_path, monkeypatch):
  clip_repository(tmp_path, layout="open_clip", act="gelu")
  small = catalog.find(str(tmp_path)).model
  published = catalog.FAMILIES["clip"].models["clip_vitb32"]
  assert published.image.act == "quick_gelu"
  monkeypatch.setitem(catalog.MODELS, "clip_vitb32", small)
  file = tmp_path / "open_clip_model.safetensors"
  assert catalog.find("clip_vitb32", file).is_described
  alone = tmp_path / "alone.safetensors"
  file.rename(alone)
  assert not catalog.find("clip_vitb32", alone).is_described


def test_another_size_is_said_in_two_lines(tmp_path):
  layout = published_layouts.hub(catalog.MODELS["dinov2_vitb14"].image)
  tensors = {name: np.ones(shape, "f") for name, shape in layout.items()}
  torch_files.write_pth(tmp_path / "model.pth", tensors)
  with pytest.raises(ValueError, match="tensors do not fit") as error:
    load_encoder("dinov2_vits14", weights=tmp_path / "model.pth")
  first, second = str(error.value).split("\n")
  assert str(tmp_path) in first and len(first) < 400
  assert second == (
    "The file is 768 wide with 12 blocks and patches of 14 pixels:"
    " dinov2_vitb14?"
  )


def test_a_repository_of_another_size_or_family_is_named(repository):
  with pytest.raises(ValueError, match=r"is not dinov2_vits14: it has dim 48"):
    load_encoder("dinov2_vits14", weights=repository)
  layout = published_layouts.hub(goldens.TINY["dinov2"])
  tensors = published_layouts.random_tensors(layout, seed=0)
  torch_files.write_pth(repository / "model.pth", tensors)
  with pytest.raises(ValueError, match="63 tensors|tensors do not fit"):
    load_encoder("clip_vitb32", weights=repository / "model.pth")


def test_legacy_files_say_how_to_convert(tmp_path):
  (tmp_path / "old.pth").write_bytes(
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
  )
  with pytest.raises(ValueError, match=r"torch\.save\(torch\.load"):
    load_encoder("dinov2_vits14", weights=tmp_path / "old.pth")


def test_a_training_checkpoint_gives_its_teacher(tmp_path):
  layout = published_layouts.hub(goldens.TINY["dino"])
  teacher = published_layouts.random_tensors(layout, seed=0)
  student = published_layouts.random_tensors(layout, seed=1)
  tensors = {f"teacher.module.backbone.{n}": v for n, v in teacher.items()}
  tensors |= {f"student.module.backbone.{n}": v for n, v in student.items()}
  tensors["optimizer.state.0.exp_avg"] = np.zeros(3, "f")
  torch_files.write_pth(tmp_path / "checkpoint.pth", tensors)
  from visual_memory.encoders.families import dino
  from visual_memory.encoders.published import params

  found = params.load_tower(
    tmp_path / "checkpoint.pth", template=vit.shapes(goldens.TINY["dino"]),
    namings=dino.IMAGE,
  ).params  # fmt: skip
  np.testing.assert_array_equal(found["norm"]["bias"], teacher["norm.bias"])


TIMM = {
  "architecture": "vit_tiny_patch16_224",
  "num_classes": 0,
  "pretrained_cfg": {
    "input_size": [3, 224, 224],
    "crop_pct": 0.9,
    "interpolation": "bicubic",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
  },
}


def test_timm_names_its_architecture(tmp_path):
  model = catalog.MODELS["augreg_vitti16"].image
  layout = published_layouts.hub(model)
  tensors = {name: np.ones(shape, "f") for name, shape in layout.items()}
  tensors["head.weight"] = np.ones((1000, 192), "f")
  save_file(tensors, tmp_path / "model.safetensors")
  write(tmp_path, "config.json", TIMM)
  loaded = catalog.load(str(tmp_path))
  assert loaded.model.image == model  # With timm's rule for positions.
  assert loaded.model.preprocess == (
    catalog.MODELS["augreg_vitti16"].preprocess
  )
  assert loaded.params["patch_position"].shape == (14, 14, 192)


@pytest.mark.parametrize(
  ("config", "resize", "crop", "square"),
  [
    (PROCESSOR, 32, 28, False),
    ({"size": {"height": 30, "width": 30}}, 30, 30, True),
    ({"size": 30}, 30, 30, True),
    ({"size": 30, "crop_size": 28, "do_center_crop": True,
      "feature_extractor_type": "CLIPFeatureExtractor"}, 30, 28, False),
  ],
)  # fmt: skip
def test_processors_of_every_age(config, resize, crop, square):
  found = family.from_transformers(config)
  assert (found.resize, found.crop) == (resize, crop)
  assert (found.long_side == "square") == square
  assert family.from_transformers({"size": {"longest_edge": 30}}) is None


def test_a_published_file_has_its_origins_rules(tmp_path):
  """transformers resamples positions and crops as the authors do not."""
  model = catalog.MODELS["dinov2_vits14"]
  for layout, rule, offset in (
    (published_layouts.hub, "offset", "round"),
    (published_layouts.hugging_face_dino, "plain", "floor"),
  ):
    tensors = {n: np.ones(s, "f") for n, s in layout(model.image).items()}
    path = tmp_path / f"{rule}.safetensors"
    save_file(tensors, path)
    loaded = catalog.load("dinov2_vits14", path)
    assert loaded.model.image.position_rule == rule
    assert loaded.model.preprocess.crop_offset == offset
  assert load_file(path).keys() == layout(model.image).keys()


def test_the_list_is_a_table():
  names = list_encoders()
  name = names[names.index("siglip2_vitb16_256")]
  assert (name.family, name.dim) == ("SigLIP, SigLIP 2", 768)
  assert name.license == "Apache-2.0"
  assert name.address == "google/siglip2-base-patch16-256"
  assert "| `mae_vitb16` |" in names.to_markdown()
  assert "CC-BY-NC-4.0" in repr(names) and "<table>" in names._repr_html_()
  assert {model.license or catalog.FAMILY_OF[n].license
          for n, model in catalog.MODELS.items()} >= {"MIT"}  # fmt: skip
