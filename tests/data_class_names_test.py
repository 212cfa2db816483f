"""What classes are called and belong to, and pieces of pictures as rows."""

import collections
import dataclasses
import importlib.util
import json
import pathlib
import pickle
import time
from concurrent import futures

import numpy as np
import pytest
from PIL import Image

import visual_memory as vm
from configs import dual_memory, human_study, rerank
from experiments import launch
from visual_memory.data import pieces, relabeling, selection, taxonomy
from visual_memory.data.decoding import UnreadableImage
from visual_memory.data.folder import folder

SYNSETS = ("n01440764", "n02012849", "n03126707")


@pytest.fixture(scope="module")
def synset_folders(tmp_path_factory):
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
  names = relabeling.read_class_names("imagenet_1k")
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
  relabeling.require_words(list(names.values()), what="A test")


def test_any_source_takes_names(synset_folders, tmp_path):
  source = vm.open_source(
    "folder", path=synset_folders / "synsets", class_names="imagenet_1k"
  )
  assert source.class_names == ("tench", "crane (bird)", "crane (machine)")
  plain = vm.open_source("folder", path=synset_folders / "synsets")
  assert source.fingerprint != plain.fingerprint
  np.testing.assert_array_equal(source.ids, plain.ids)
  kept = selection.only_classes(source, ["tench"])
  assert kept.class_names[kept.labels[0]] == "tench"
  # Folders called by number, in the order of folders' names.
  numbers = vm.open_source(
    "folder", path=synset_folders / "numbers", class_names="imagenet_1k"
  )
  assert numbers.class_names == ("tench", "brambling", "crane (bird)")
  digits = vm.open_source("digits", split="test", class_names="digits")
  assert digits.class_names[7] == "seven"
  words = {name: f"a {name}" for name in SYNSETS}
  (tmp_path / "words.json").write_text(json.dumps(words))
  for given in (words, tmp_path / "words.json"):
    named = vm.open_source(
      "folder", path=synset_folders / "synsets", class_names=given
    )
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
def test_names_that_do_not_fit(synset_folders, given, problem):
  with pytest.raises(ValueError, match=problem):
    vm.open_source("folder", path=synset_folders / "synsets", class_names=given)


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": 3}', '{"a": ""}'])
def test_files_that_are_no_map(tmp_path, text):
  path = tmp_path / "names.json"
  path.write_text(text)
  with pytest.raises(ValueError, match="names.json does not say what"):
    relabeling.read_class_names(path)
  (tmp_path / "names.txt").write_text("one two\n")
  with pytest.raises(ValueError, match="names.txt does not say what"):
    relabeling.read_class_names(tmp_path / "names.txt")


@pytest.mark.parametrize("name", ["n01440764", "0", "12", "3.5", ""])
def test_numbers_and_synsets_are_no_words(name):
  with pytest.raises(ValueError, match=f"A test needs words.*{name!r}"):
    relabeling.require_words(["cat", name], what="A test")
  relabeling.require_words(["cat", "n", "3d printer", "7 up"], what="A test")


def of_synsets(config, synset_folders):
  for section in (config.memory, config.data):
    section.source, section.options.split = "folder", None
    section.options.path = str(synset_folders / "synsets")
  return config


@pytest.mark.parametrize("kind", ["people", "prompts", "text"])
def test_people_and_models_are_never_asked_about_synsets(
  synset_folders, tmp_path, kind
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
    launch.run(of_synsets(config, synset_folders), tmp_path / "run")
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


class Counting:
  """A source that counts what it decodes; picture 2 cannot be read."""

  def __init__(self, source):
    self.source, self.decoded = source, collections.Counter()
    self.labels, self.ids, self.mask = source.labels, source.ids, source.mask
    self.class_names, self.fingerprint = source.class_names, source.fingerprint

  def __len__(self):
    return len(self.source)

  def __getitem__(self, row):
    self.decoded[row] += 1
    time.sleep(0.01)  # So that other threads come meanwhile.
    if row == 2:
      raise UnreadableImage(self.source.ids[row], "it is torn")
    return self.source[row]


@pytest.mark.parametrize("cut", ["windows", "crops"])
def test_pictures_of_pieces_are_decoded_once_in_any_threads(cut):
  source = Counting(vm.open_source("shapes", num_images=9, size=32))
  if cut == "windows":
    found = pieces.windows(source, side=8, share=0.0)
  else:
    found = pieces.crops(source, per_image=16, scale=(0.2, 0.5), seed=0)
  assert not source.decoded and len(found) == 9 * 16

  def read(row):
    try:
      return found[row].id
    except UnreadableImage as error:
      return error.id

  with futures.ThreadPoolExecutor(3) as pool:
    ids = list(pool.map(read, range(len(found))))
  assert source.decoded == dict.fromkeys(range(9), 1)
  torn = source.ids[2]
  assert ids == [*found.ids[:32], *[torn] * 16, *found.ids[48:]]
  found = dataclasses.replace(found, source=source.source)
  again = pickle.loads(pickle.dumps(found))
  np.testing.assert_array_equal(again[1].image, found[1].image)


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


PATHS = [("b", "x", "1"), ("a", "x", "2"), ("b", "w", "3"), ("a", "x", "4")]


def test_nodes_are_sorted_paths():
  tree = taxonomy.from_paths(PATHS, levels=("top", "middle", "class"))
  assert tree.nodes[0] == (("a",), ("b",))
  assert tree.nodes[1] == (("a", "x"), ("b", "w"), ("b", "x"))
  np.testing.assert_array_equal(
    tree.ancestors, [[1, 2, 0], [0, 0, 1], [1, 1, 2], [0, 0, 3]]
  )
  assert [p.tolist() for p in tree.parents] == [[0, 0], [0, 1, 1], [2, 0, 1, 0]]
  assert tree.num_classes == 4


def test_both_forms_of_a_table_agree(tmp_path):
  wide, links = tmp_path / "wide.csv", tmp_path / "links.csv"
  lines = [("b", "bx", "1"), ("a", "ax", "2"), ("b", "bw", "3")]
  wide.write_text(
    "top,middle,class\n" + "".join(",".join(row) + "\n" for row in lines)
  )
  links.write_text("child,parent\n1,bx\n2,ax\n3,bw\nbx,b\nax,a\nbw,b\na,\nb,\n")
  names = ("2", "3", "1")
  first = taxonomy.from_csv(wide, class_names=names)
  second = taxonomy.from_csv(links, class_names=names)
  np.testing.assert_array_equal(first.ancestors, second.ancestors)
  assert first.nodes == second.nodes
  assert first.levels == ("top", "middle", "class")


def test_nested_folders_are_a_taxonomy(data_file):
  source = folder(data_file("cifar100_half.zip"), split="test")
  tree = taxonomy.from_paths(source.taxonomy)
  assert [len(nodes) for nodes in tree.nodes] == [20, 100]
  label = source.class_names.index("maple_tree")
  assert tree.nodes[0][tree.ancestors[label, 0]] == ("trees",)


def test_inaturalist_spells_its_taxonomy_out():
  names = (
    "00000_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_terrestris",
    "00001_Animalia_Chordata_Aves_Passeriformes_Corvidae_Corvus_corax",
  )
  tree = taxonomy.from_joined_names(names)
  assert tree.levels[0] == "kingdom" and tree.levels[-1] == "species"
  assert tree.ancestors[0, 0] == tree.ancestors[1, 0]
  assert tree.nodes[6][1][-2:] == ("Corvus", "corax")
  with pytest.raises(ValueError, match="'00002_Animalia' has 1 levels, not 7"):
    taxonomy.from_joined_names(["00002_Animalia"])


@pytest.mark.parametrize(
  "parents, error",
  [
    ({"x": "y", "y": "z", "z": "x"}, "circle: x -> y -> z -> x"),
    ({"x": "x"}, "circle: x -> x"),
    ({"x": "y"}, "'x' is an orphan.*its parent 'y'"),
    ({"y": ""}, "class 'x' is an orphan"),
    ({"x": "y", "y": "", "v": ""}, "'v' lies 1 levels deep, but 'y/x'"),
  ],
)
def test_broken_links_are_named(parents, error):
  names = ("x", "v") if "v" in parents else ("x",)
  with pytest.raises(ValueError, match=error):
    taxonomy.from_parents(parents, class_names=names)


@pytest.mark.parametrize(
  "content, error",
  [
    ("child,parent\nx,a\nx,b\na,\nb,\n", "'x' has two parents, 'a' and 'b'"),
    ("child,parent\nx,\ny\n", "row 3: 1 cells under 2 columns"),
    ("top,class\na,y\n", "1 classes have no row, for example 'x'"),
    ("top,class\na,x\nb,x\n", "'x' has two rows that differ"),
    ("top,class\n,x\n", "empty name on level 1"),
    ("top,class\n", "no row"),
    ("", "no header"),
  ],
)
def test_broken_tables_are_named(tmp_path, content, error):
  path = tmp_path / "tree.csv"
  path.write_text(content)
  with pytest.raises(ValueError, match=error):
    taxonomy.from_csv(path, class_names=("x",))


def test_paths_must_be_of_one_depth_and_distinct():
  with pytest.raises(ValueError, match="occurs twice"):
    taxonomy.from_paths([("a", "x"), ("a", "x")])
  with pytest.raises(ValueError, match="at least one class"):
    taxonomy.from_paths([])
  with pytest.raises(ValueError, match="3 names for 2 levels"):
    taxonomy.from_paths([("a", "x")], levels=("1", "2", "3"))
