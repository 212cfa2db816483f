"""The text side of dual memory networks: a tiny CLIP, and a whole one."""

import json
import zipfile

import numpy as np
import processes
import pytest

for package in ("tokenizers", "ftfy", "regex"):
  pytest.importorskip(package, reason="needs visual_memory[pretrained]")

import encoders_text_test as tiny
import published_layouts
import torch_files

from configs import dual_memory as config_lib
from experiments import from_config, launch
from visual_memory import distributed
from visual_memory.dual_memory import guesses, protocol
from visual_memory.dual_memory.dual_memory import Settings
from visual_memory.dual_memory.fusion import FIXED
from visual_memory.encoders.families import catalog
from visual_memory.encoders.text import class_texts
from visual_memory.encoders.text.text_encoder import make_text_encoder

NAMES = ("cat", "do_cat", "dog")


@pytest.fixture(scope="module")
def text_encoder():
  return make_text_encoder(
    "tiny",
    params=tiny.random_params(tiny.TINY),
    config=tiny.TINY,
    tokenizer=tiny.TOKENIZER,
    weights_fingerprint="tiny",
  )


def test_classifiers_are_cached_under_texts_and_encoder(text_encoder, tmp_path):
  texts = class_texts.class_texts(
    NAMES, ("a {}.", "the {}"), descriptions={n: [f"{n}!"] for n in NAMES}
  )
  first = class_texts.cached_classifier(text_encoder, texts, cache_dir=tmp_path)
  rows = text_encoder.encode_texts(texts[1])
  mean = rows.astype(np.float64).mean(axis=0)
  np.testing.assert_allclose(first[1], mean / np.linalg.norm(mean), atol=1e-6)
  again = class_texts.cached_classifier(text_encoder, texts, cache_dir=tmp_path)
  np.testing.assert_array_equal(again, first)
  assert len(list(tmp_path.glob("*.npy"))) == 1
  class_texts.cached_classifier(text_encoder, texts[:2], cache_dir=tmp_path)
  assert len(list(tmp_path.glob("*.npy"))) == 2


def test_zero_shot_test_with_text(text_encoder):
  """No shots: weights of one, and no static memory."""
  mesh, rng = distributed.make_mesh(1), np.random.default_rng(0)
  texts = class_texts.class_texts(NAMES, ("a {}.",))
  classifier = class_texts.cached_classifier(
    text_encoder, texts, cache_dir=None
  )
  labels = rng.integers(0, 3, 50).astype(np.int32)
  views = classifier[labels][:, None] + 0.1 * rng.normal(size=(50, 4, 16))
  views /= np.linalg.norm(views, axis=-1, keepdims=True)
  asked = guesses.Asked(views=views.astype(np.float32), labels=labels)
  found = protocol.shot_test(
    guesses.by_text(
      classifier, inverse_temperature=100.0, fraction=0.5, mesh=mesh
    ),
    None, asked, text=classifier, num_classes=3,
    settings=Settings(num_slots=5), candidates=[(5.5, 100.0)], held_out=None,
    fit=None, mesh=mesh,
  )  # fmt: skip
  assert found.num_tuning == 0 and found.used_slots == 15
  assert found.chosen["all"]["dynamic"] == FIXED.dynamic
  assert found.accuracy == found.fixed
  # Text rows alone as a static memory would count the text twice.
  assert set(found.alone) == {"dynamic"}
  assert found.accuracy["static"] == found.accuracy["base"] > 0.5
  assert found.accuracy["all"] == found.accuracy["dynamic"]
  assert all(chosen["static"] == 0 for chosen in found.chosen.values())


def test_published_sets():
  for name in config_lib.SETS:
    config = config_lib.get_config(name)
    assert config.published.text > 20 and config.encoder.name == "clip_vitb16"
    config.root = "photos"
    assert config.data.options.path.startswith("photos/"), name
  assert config_lib.get_config("dtd").memory.options.list_file.endswith(
    "/dtd/split_zhou_DescribableTextures.json"
  )
  assert config_lib.get_config("imagenet_a").num_shots == (0,)
  folders = config_lib.get_config("dtd,folder")
  assert folders.memory.options.to_dict()["split"] == "train"
  assert config_lib.get_config("pets,tfds").data.options.dataset == (
    "oxford_iiit_pet"
  )
  resnet = config_lib.get_config("pets,tfds,rn50")
  assert resnet.encoder.name == resnet.text.name == "clip_rn50"
  assert resnet.data.options.to_dict() == (
    config_lib.get_config("pets,tfds").data.options.to_dict()
  )
  settings = from_config.settings(resnet, launch.load(resnet).Settings)
  assert settings.published_encoder == "clip_rn50"
  assert settings.published["few_shot_4"] == 88.662
  with pytest.raises(ValueError, match="and with ,rn50"):
    config_lib.get_config("pets,rn101")
  with pytest.raises(ValueError, match="no still images of ucf101"):
    config_lib.get_config("ucf101,tfds")
  means = [
    np.mean([
      config_lib.get_config(name).published[column]
      for name in config_lib.SETS if not name.startswith("imagenet_")
    ])
    for column in ("text", "zero_shot", "training_free_16", "few_shot_16")
  ]  # fmt: skip
  # The means that the published logs come to.
  np.testing.assert_allclose(means, [68.43, 70.10, 79.71, 83.44], atol=0.005)
  rn50 = [config_lib.RN50[name] for name in config_lib.SETS
          if not name.startswith("imagenet_")]  # fmt: skip
  means = [np.mean([row[column] for row in rn50]) for column in rn50[0]]
  np.testing.assert_allclose(
    means, [63.37, 60.72, 65.96, 67.19, 69.08, 68.20, 69.93, 72.18], atol=0.005
  )


@pytest.mark.slow
def test_zero_shot_path_on_generated_weights_and_real_images(
  data_file, tmp_path
):
  """CLIP B/32 from a file of the published layout; 20 CIFAR images; views."""
  with zipfile.ZipFile(data_file("cifar10.zip")) as images:
    for name in images.namelist():
      if name.endswith("/0000.jpg"):
        images.extract(name, tmp_path)
  model = catalog.MODELS["clip_vitb32"]
  layout = published_layouts.openai_clip(model.image, model.text)
  torch_files.write_torchscript(
    tmp_path / "clip.pt", published_layouts.random_tensors(layout, seed=0)
  )
  names = sorted(p.name for p in (tmp_path / "cifar10/test").iterdir())
  cupl = {n: [f"A {n} seen from afar.", f"Most {n}s are small."] for n in names}
  (tmp_path / "cupl.json").write_text(json.dumps(cupl))
  sources = [
    f"--config.{section}.{key}={value}"
    for section, split in (("memory", "train"), ("data", "test"))
    for key, value in (
      ("source", "folder"), ("options.split", split),
      ("options.path", tmp_path / "cifar10"), ("class_names", ""),
    )
  ]  # fmt: skip
  done = processes.python(
    "-m", "experiments.launch", "--config=configs/dual_memory.py:imagenet",
    f"--workdir={tmp_path / 'run'}", *sources,
    "--config.encoder.name=clip_vitb32", "--config.text.name=clip_vitb32",
    f"--config.encoder.weights={tmp_path / 'clip.pt'}",
    f"--config.text.vocabulary={data_file('clip_bpe_simple_vocab_16e6.txt.gz')}",
    f"--config.text.descriptions={tmp_path / 'cupl.json'}",
    "--config.num_shots=(0, 1)", "--config.seeds=(0,)",
    "--config.adaptation.num_views=4", "--config.adaptation.augmix=True",
    "--config.adaptation.canvas=32", "--config.adaptation.epochs=2",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-3000:]
  report = json.loads((tmp_path / "run/report.json").read_text())
  zero = report["variants"]["training_free"]["0"]["shot_tests"][0]
  assert zero["chosen"]["all"]["dynamic"] == 1.0
  assert zero["used_slots"] == 10
  few = report["variants"]["few_shot"]["1"]["shot_tests"][0]
  assert 0 <= few["accuracy"]["all"] <= 1
  shots = json.loads((tmp_path / "run/shots_0.json").read_text())
  assert shots["class_names"] == names
  assert "As published" in (tmp_path / "run/report.html").read_text()
