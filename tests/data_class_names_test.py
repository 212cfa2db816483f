"""What classes are called, and pieces of pictures as rows of theirs."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

import visual_memory as vm
from configs import dual_memory, human_study, rerank
from experiments import launch
from visual_memory.data import class_names, pieces, selection

SYNSETS = ("n01440764", "n02012849", "n03126707")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Two images of each of three synsets, and of three numbers."""
  root = tmp_path_factory.mktemp("images")
  for kind, names in (("synsets", SYNSETS), ("numbers", ("0", "10", "134"))):
    for shade, name in enumerate(names):
      (root / kind / name).mkdir(parents=True)
      for i in range(2):
        image = np.full((8, 8, 3), 40 * shade + i, np.uint8)
        Image.fromarray(image).save(root / kind / name / f"{i}.png")
  return root


def test_imagenets_names_are_of_its_synsets_and_differ():
  names = class_names.read_class_names("imagenet_1k")
  found = importlib.util.find_spec("tensorflow_datasets").origin
  labels = pathlib.Path(found).parent / "datasets/imagenet2012/labels.txt"
  synsets = labels.read_text().split()
  assert [names[str(row)] for row in range(1000)] == [
    names[synset] for synset in synsets
  ]
  assert len(names) == 2000
  assert len({name.lower() for name in names.values()}) == 1000
  assert names["n02391049"] == "zebra" and names["999"] == "toilet tissue"
  # English has one word for the bird and the machine.
  assert names["n02012849"] != names["n03126707"]
  class_names.require_words(list(names.values()), what="A test")


def test_any_source_takes_names(folder, tmp_path):
  source = vm.open_source(
    "folder", path=folder / "synsets", class_names="imagenet_1k"
  )
  assert source.class_names == ("tench", "crane (bird)", "crane (machine)")
  plain = vm.open_source("folder", path=folder / "synsets")
  assert source.fingerprint != plain.fingerprint
  np.testing.assert_array_equal(source.ids, plain.ids)
  kept = selection.only_classes(source, ["tench"])
  assert kept.class_names[kept.labels[0]] == "tench"
  # Folders called by number, in the order of folders' names.
  numbers = vm.open_source(
    "folder", path=folder / "numbers", class_names="imagenet_1k"
  )
  assert numbers.class_names == ("tench", "brambling", "crane (bird)")
  digits = vm.open_source("digits", split="test", class_names="digits")
  assert digits.class_names[7] == "seven"
  words = {name: f"a {name}" for name in SYNSETS}
  (tmp_path / "words.json").write_text(json.dumps(words))
  for given in (words, tmp_path / "words.json"):
    named = vm.open_source("folder", path=folder / "synsets", class_names=given)
    assert named.class_names[0] == "a n01440764"
    assert named[0].label == 0
  stripes = vm.open_source(
    "synthetic", num_images=4, num_classes=2, size=8, seed=0,
    class_names={"angle_0": "a", "angle_1": "b"},
  )  # fmt: skip
  assert stripes.class_names == ("a", "b") and stripes[1].label == 1


@pytest.mark.parametrize(
  "given, problem",
  [
    ("imagenet_2k", "no file, and none of the maps.*imagenet_1k"),
    ({"n01440764": "tench"}, "'n02012849' is not among the 1 class_names"),
    ({name: "crane" for name in SYNSETS}, "both called 'crane'"),
  ],
)
def test_names_that_do_not_fit(folder, given, problem):
  with pytest.raises(ValueError, match=problem):
    vm.open_source("folder", path=folder / "synsets", class_names=given)


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": 3}', '{"a": ""}'])
def test_files_that_are_no_map(tmp_path, text):
  path = tmp_path / "names.json"
  path.write_text(text)
  with pytest.raises(ValueError, match="names.json does not say what"):
    class_names.read_class_names(path)
  (tmp_path / "names.txt").write_text("one two\n")
  with pytest.raises(ValueError, match="names.txt does not say what"):
    class_names.read_class_names(tmp_path / "names.txt")


@pytest.mark.parametrize("name", ["n01440764", "0", "12", "3.5", ""])
def test_numbers_and_synsets_are_no_words(name):
  with pytest.raises(ValueError, match=f"A test needs words.*{name!r}"):
    class_names.require_words(["cat", name], what="A test")
  class_names.require_words(["cat", "n", "3d printer", "7 up"], what="A test")


def of_synsets(config, folder):
  for section in (config.memory, config.data):
    section.source, section.options.split = "folder", None
    section.options.path = str(folder / "synsets")
  return config


@pytest.mark.parametrize("kind", ["people", "prompts", "text"])
def test_people_and_models_are_never_asked_about_synsets(
  folder, tmp_path, kind
):
  if kind == "people":
    config = human_study.get_config("smoke")
    config.memory.class_names = config.data.class_names = ""
  elif kind == "prompts":
    config = rerank.get_config("smoke")
    config.rerank.by, config.rerank.model = "openai", "any"
    config.rerank.key_variable = ""
  else:
    config = dual_memory.get_config("dtd,folder")
  with pytest.raises(ValueError, match="needs words.*'n01440764'"):
    launch.run(of_synsets(config, folder), tmp_path / "run")
  assert not (tmp_path / "run" / "cache").exists()  # Nothing was embedded.


SHAPES = {"num_images": 4, "size": 20}
STRIPES = {"num_images": 3, "num_classes": 2, "size": 40, "seed": 1}


def test_a_window_is_of_the_class_of_most_of_its_pixels():
  shapes, expected = vm.open_source("shapes", **SHAPES), {}
  found = vm.open_source("windows", of="shapes", side=8, share=0.6, **SHAPES)
  for row in range(len(shapes)):
    for top in (0, 8):  # What is over is in none.
      for left in (0, 8):
        mask = shapes.mask(row)[top : top + 8, left : left + 8]
        for label in range(len(shapes.class_names)):
          if (mask == label).mean() > 0.6:
            image = shapes[row].image[top : top + 8, left : left + 8]
            expected[f"{shapes.ids[row]} {top} {left}"] = label, image
  assert found.ids.tolist() == list(expected)
  assert 4 < len(found) < 16 and len(np.unique(found.labels)) > 1
  for row, (id, (label, image)) in enumerate(expected.items()):
    np.testing.assert_array_equal(found[row].image, image)
    assert (found[row].id, found[row].label, found.labels[row]) == (
      id, label, label,
    )  # fmt: skip
  other = vm.open_source("windows", of="shapes", side=8, share=0.5, **SHAPES)
  assert other.fingerprint != found.fingerprint
  with pytest.raises(ValueError, match="a class for every pixel"):
    vm.open_source("windows", of="digits")


def test_a_crop_is_of_its_picture():
  stripes = vm.open_source("synthetic", **STRIPES)
  options = {"of": "synthetic", "scale": (0.2, 0.5)} | STRIPES
  whole = vm.open_source("crops", per_image=0, **options)
  assert whole.ids.tolist() == stripes.ids.tolist() == [*whole.class_names]
  np.testing.assert_array_equal(whole[2].image, stripes[2].image)
  cut = vm.open_source("crops", per_image=5, **options)
  assert cut.class_names == whole.class_names
  assert cut.labels.tolist() == np.repeat([0, 1, 2], 5).tolist()
  shapes = set()
  for row in range(len(cut)):
    crop, picture = cut[row], stripes[cut.labels[row]].image
    height, width, _ = crop.image.shape
    assert (crop.id, crop.label) == (cut.ids[row], cut.labels[row])
    # Rounding to whole pixels moves the share a little.
    assert 0.15 < height * width / 40**2 < 0.55
    assert 0.65 < width / height < 1.5
    places = np.lib.stride_tricks.sliding_window_view(picture, crop.image.shape)
    assert (places[:, :, 0] == crop.image).all(axis=(-3, -2, -1)).any()
    shapes.add((height, width))
  assert len(shapes) > 5
  # A crop depends on its picture, number and seed: not on what else there is.
  alone = vm.open_source("crops", per_image=2, **options | {"num_images": 1})
  np.testing.assert_array_equal(alone[1].image, cut[1].image)
  other = pieces.crops(stripes, per_image=2, scale=(0.2, 0.5), seed=9)
  assert other[1].image.shape != cut[1].image.shape
