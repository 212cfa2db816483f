"""The public face: what people have goes in; what comes out shows itself."""

import concurrent.futures
import copy
import inspect
import multiprocessing
import pathlib
import pickle
import re
import warnings

import numpy as np
import pytest
from PIL import Image

import visual_memory as vm
from visual_memory import distributed
from visual_memory.data import sources
from visual_memory.data.decoding import UnreadableImage

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def source():
  return vm.open_source("digits", split="test")


@pytest.fixture(scope="module")
def encoder():
  return vm.load_encoder("pixels", size=8)


@pytest.fixture(scope="module")
def embedded(encoder, source):
  return vm.embed(encoder, source, progress=False)


@pytest.fixture(scope="module")
def memory(embedded):
  return vm.VisualMemory.from_embedded(embedded, mesh=vm.make_mesh(1))


def test_readme_runs_as_it_stands(tmp_path, monkeypatch):
  rng = np.random.default_rng(0)
  for name, color in (("cat", 200), ("dog", 40)):
    (tmp_path / "photos" / name).mkdir(parents=True)
    for i in range(4):
      pixels = np.clip(rng.normal(color, 30, (40, 50, 3)), 0, 255)
      image = Image.fromarray(pixels.astype(np.uint8))
      image.save(tmp_path / "photos" / name / f"{i}.jpg")
  image.save(tmp_path / "new.jpg")
  monkeypatch.chdir(tmp_path)
  blocks = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S
  )
  assert blocks
  found = {}
  for block in blocks:
    exec(compile(block, "README.md", "exec"), found)
  assert found["near"].ids.shape == (1, 3)
  assert "wolf" in found["memory"].class_names
  assert len(found["memory"]) == 7 and len(found["store"]) == 8
  assert found["near"].ids[0, 0] == "dog/3.jpg"  # The same picture.
  assert found["votes"].names[0, 0] in ("cat", "dog")


# What goes in


def test_encode_takes_what_people_have(encoder, source, tmp_path):
  image = source[3].image
  Image.fromarray(image).save(tmp_path / "x.png")
  expected = encoder.encode([image])
  for given in (
    image,
    image[None],
    str(tmp_path / "x.png"),
    tmp_path / "x.png",
    Image.fromarray(image),
    Image.fromarray(image).convert("RGBA"),
    source[3],
    (tmp_path / "x.png",),
    iter([image]),
    image[:, :, 0],  # The digits are gray.
    image[:, :, :1],
  ):
    np.testing.assert_array_equal(encoder.encode(given), expected)
  several = encoder.encode([image, str(tmp_path / "x.png"), source[5].image])
  np.testing.assert_array_equal(several[:2], np.repeat(expected, 2, axis=0))
  assert encoder.encode([]).shape == (0, encoder.dim)


@pytest.mark.parametrize(
  "make, error, message",
  [
    (lambda path: path / "no.png", FileNotFoundError, "Image 0: .*no.png"),
    (lambda path: [path], ValueError, "Image 0 is .* folder.*open_source"),
    (lambda path: [path / "a.txt"], UnreadableImage, "a.txt"),
    (lambda path: [Image.open(path / "b.png")], UnreadableImage, "image 0"),
    (lambda path: 7, ValueError, "int is no image"),
    (lambda path: b"PNG", ValueError, "bytes is no image"),
    (lambda path: [None], ValueError, "Image 0 is a NoneType"),
    (
      lambda path: np.zeros((4, 4, 3)),
      ValueError,
      r"Image 0 is float64 \(4, 4, 3\): arrays must be uint8",
    ),
    (
      lambda path: [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 7), "u1")],
      ValueError,
      "Image 1 is uint8",
    ),
    (lambda path: np.zeros((0, 4, 3), np.uint8), ValueError, "no pixels"),
  ],
)
def test_what_is_no_image_is_named(encoder, tmp_path, make, error, message):
  (tmp_path / "a.txt").write_text("hello")
  Image.new("RGB", (64, 64)).save(tmp_path / "b.png")
  data = (tmp_path / "b.png").read_bytes()
  (tmp_path / "b.png").write_bytes(data[:-30])
  with pytest.raises(error, match=message):
    encoder.encode(make(tmp_path))


def test_search_takes_images_embeddings_and_sets(
  encoder, source, embedded, memory, tmp_path
):
  expected = vm.search(embedded.embeddings[:1], memory, k=4)
  Image.fromarray(source[0].image).save(tmp_path / "x.png")
  for near in (
    vm.search(str(tmp_path / "x.png"), memory, k=4, encoder=encoder),
    vm.search([source[0].image], memory, k=4, encoder=encoder),
    vm.search(embedded.take([0]), memory, k=4),
    vm.search(embedded.embeddings[0], memory, k=4),
    vm.search(embedded.embeddings[0].tolist(), memory, k=4),
  ):
    np.testing.assert_array_equal(near.ids, expected.ids)
  assert expected.names[0, 0] == source.class_names[source.labels[0]]
  with pytest.raises(ValueError, match="images, and a memory holds none"):
    vm.search([source[0].image], memory, k=4)
  other = vm.load_encoder("pixels", size=9)
  with pytest.raises(ValueError, match="two encoders cannot be compared"):
    vm.search([source[0].image], memory, k=4, encoder=other)
  alien = vm.embed(other, source, progress=False)
  with pytest.raises(ValueError, match="two encoders cannot be compared"):
    vm.search(alien, memory, k=4)
  tiles = {"query_tile", "row_tile"}
  assert not tiles & set(inspect.signature(vm.search).parameters)


def test_a_vote_needs_nothing_but_neighbors(embedded, memory):
  near = vm.search(embedded.embeddings[:30], memory, k=12)
  alone = vm.vote(near)
  said = vm.vote(near, voter="rank", ks=(12,), num_classes=10)
  np.testing.assert_array_equal(alone.predictions, said.predictions)
  np.testing.assert_array_equal(alone.class_scores, said.class_scores)
  assert alone.ks == (12,) and alone.class_scores.shape == (1, 30, 10)
  names = np.array(embedded.class_names, object)
  np.testing.assert_array_equal(alone.names, names[alone.predictions])
  np.testing.assert_array_equal(
    vm.vote(near, ks=3).predictions, vm.vote(near, ks=[3]).predictions
  )


def test_a_vote_by_a_function_of_ones_own(embedded, memory):
  near = vm.search(embedded.embeddings[:30], memory, k=12)

  def by_rank(near):
    return np.broadcast_to(1 / (2.0 + np.arange(near.k)), near.ids.shape)

  own, named = (
    vm.vote(near, voter=voter, ks=(1, 5, 12)) for voter in (by_rank, "rank")
  )
  np.testing.assert_array_equal(own.predictions, named.predictions)
  np.testing.assert_array_equal(own.class_scores, named.class_scores)
  factors = np.random.default_rng(0).random(near.ids.shape)
  own, named = (
    vm.vote(near, voter=voter, factors=factors) for voter in (by_rank, "rank")
  )
  np.testing.assert_array_equal(own.predictions, named.predictions)
  np.testing.assert_array_equal(own.class_scores, named.class_scores)
  only_first = vm.vote(
    near, voter=lambda near: near.indices == near.indices[:, :1]
  )
  np.testing.assert_array_equal(only_first.predictions[0], near.labels[:, 0])


@pytest.mark.parametrize(
  "options, error, message",
  [
    ({"voter": lambda near: -near.similarities}, ValueError, "negative"),
    ({"voter": lambda near: near.similarities[:, 0]}, ValueError, "shape"),
    ({"voter": lambda near: np.nan * near.similarities}, ValueError, "finite"),
    ({"voter": lambda near: 1, "offset": 2.0}, TypeError, "offset belong"),
    ({"voter": "best"}, ValueError, "Unknown voter 'best'"),
    ({"ks": 0}, ValueError, "k = 0"),
  ],
)
def test_a_vote_that_cannot_be_is_refused(
  embedded, memory, options, error, message
):
  near = vm.search(embedded.embeddings[:3], memory, k=4)
  with pytest.raises(error, match=message):
    vm.vote(near, **options)


def test_every_source_and_option_is_in_the_docstring():
  assert vm.list_sources() == tuple(sources.SOURCES)
  text = vm.open_source.__doc__
  for name, opener in sources.SOURCES.items():
    entry = re.search(rf'"{name}": (.*?)(?=\n    "|\n\n)', text, re.S)
    assert entry, name
    if name == "procedural":
      from visual_memory.data.synthetic import procedural as opener
    for option in inspect.signature(opener).parameters.values():
      assert re.search(rf"\b{option.name}\b", entry[1]), (name, option.name)


def test_embed_tells_what_it_skipped(encoder, tmp_path):
  (tmp_path / "cat").mkdir()
  for i in range(3):
    Image.new("RGB", (9, 9), (90 * i, 5, 9)).save(tmp_path / f"cat/{i}.png")
  (tmp_path / "cat/1.png").write_bytes(b"no image")
  source = vm.open_source("folder", path=tmp_path)
  with pytest.warns(UserWarning, match="1 of 3 images .*first of them .*1.png"):
    assert len(vm.embed(encoder, source, progress=False)) == 2
  (tmp_path / "cat/1.png").unlink()
  source = vm.open_source("folder", path=tmp_path)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    vm.embed(encoder, source, progress=False)


def test_the_version_is_that_of_the_package():
  assert re.fullmatch(r"\d+\.\d+\.\d+", vm.__version__)
  assert f"version: {vm.__version__}" in (ROOT / "CITATION.cff").read_text()
  assert f"## {vm.__version__}" in (ROOT / "CHANGELOG.md").read_text()


# What comes out


def values(source, encoder, embedded, memory):
  near = vm.search(embedded.embeddings[:9], memory, k=4)
  return {
    "source": source,
    "synthetic": vm.open_source(
      "synthetic", num_images=2000, num_classes=7, size=8, seed=0
    ),
    "encoder": encoder,
    "vit": vm.load_encoder("vit_random", dim=48, depth=1),
    "patches": vm.load_encoder("procedural_patches"),
    "embedded": embedded,
    "memory": memory,
    "near": near,
    "votes": vm.vote(near, ks=(1, 4)),
    "own votes": vm.vote(near, voter=lambda near: near.similarities + 1),
    "shown": vm.show(near, source),
  }


def test_everything_pickles_copies_and_shows_itself(
  source, encoder, embedded, memory
):
  for name, value in values(source, encoder, embedded, memory).items():
    for other in (
      pickle.loads(pickle.dumps(value)),
      copy.copy(value),
      copy.deepcopy(value),
    ):
      assert repr(other) == repr(value) or name == "memory"
      assert type(other) is type(value)
    assert len(repr(value)) < 160, repr(value)
    page = value._repr_html_()
    assert "vm-card" in page and "src='http" not in page
    for tag in ("div", "table", "figure", "span"):
      assert page.count(f"<{tag}") == page.count(f"</{tag}>"), (name, tag)


def test_names_cannot_break_out_of_a_card(embedded):
  evil = "<script>alert(1)</script>"
  changed = vm.embedded_set(
    embedded.embeddings[:4],
    np.array([0, 0, 1, 1]),
    [f"{evil}{i}" for i in range(4)],
    class_names=[evil, '" onload="'],
    fingerprint=evil,
  )
  memory = vm.VisualMemory.from_embedded(changed, mesh=vm.make_mesh(1))
  near = vm.search(changed, memory, k=2)
  for value in (changed, memory, near, vm.vote(near)):
    page = value._repr_html_()
    assert "<script" not in page and '" onload="' not in page


def test_votes_come_back_from_disk(embedded, memory, tmp_path):
  votes = vm.vote(vm.search(embedded.embeddings[:9], memory, k=4), ks=(1, 4))
  (tmp_path / "votes.pkl").write_bytes(pickle.dumps(votes))
  again = pickle.loads((tmp_path / "votes.pkl").read_bytes())
  np.testing.assert_array_equal(again.names, votes.names)
  np.testing.assert_array_equal(again.class_scores, votes.class_scores)


def _search(memory, queries):
  """In a worker: the neighbors, and on how many devices."""
  near = vm.search(queries, memory.remove(memory.ids[:2]), k=4)
  return near.ids, near.indices, memory.mesh.size, memory.table.next_serial


def test_a_memory_goes_to_a_spawned_worker(embedded):
  memory = vm.VisualMemory.from_embedded(
    embedded, mesh=vm.make_mesh(8), precision="int8"
  )
  memory = memory.remove(embedded.ids[5:50])
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
    found = pool.submit(_search, memory, embedded.embeddings[:9]).result()
  near = vm.search(embedded.embeddings[:9], memory.remove(memory.ids[:2]), k=4)
  np.testing.assert_array_equal(found[0], near.ids)
  np.testing.assert_array_equal(found[1], near.indices)
  assert found[3] == memory.table.next_serial
  copied = copy.deepcopy(memory)
  assert copied.mesh == memory.mesh
  memory.remove(memory.ids[:1], donate=True)
  assert len(copied.embedded()) == len(copied) == len(embedded) - 45
  with pytest.raises(ValueError, match="donate"):
    pickle.dumps(memory)


def test_pictures_of_neighbors(source, encoder, memory):
  images = [source[i].image for i in range(7)]
  near = vm.search(images, memory, k=9, encoder=encoder)
  page = vm.show(near, source, queries=images)._repr_html_()
  assert page.count("<img") == 5 * 9 and "and 2 more queries" in page
  with pytest.raises(ValueError, match="1 images for 7 queries"):
    vm.show(near, source, queries=images[:1])


def test_all_public_names_are_there():
  for name in vm.__all__:
    assert getattr(vm, name).__doc__, name
  assert distributed.make_mesh is vm.make_mesh
