"""Training on shots against torch; shots, texts, guesses, splits, views."""

import json
import random

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image, ImageOps

from visual_memory import distributed
from visual_memory.data import crops, sources
from visual_memory.dual_memory import (
  augmix,
  embed_views,
  guesses,
  protocol,
  reading,
  shot_training,
)
from visual_memory.dual_memory import (
  shots as shots_lib,
)
from visual_memory.dual_memory.dual_memory import Settings, class_rows
from visual_memory.encoders import encoder as encoder_lib
from visual_memory.encoders.text import class_texts
from visual_memory.encoders.text.templates import templates

C, S, D, B = 5, 3, 24, 11


def unit(rows):
  rows = np.asarray(rows, np.float64)
  return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype("f")


@pytest.fixture(scope="module")
def batch():
  rng = np.random.default_rng(0)
  draw = lambda *shape: unit(rng.normal(size=(*shape, D)))
  return {
    "text": draw(C), "shots": draw(C, S), "queries": draw(B),
    "labels": rng.integers(0, C, B),
    "bias": {name: (0.2 * rng.normal(size=(C, D))).astype("f")
             for name in ("query", "key", "value", "output", "text")},
    "linear": {name: (0.1 * rng.normal(size=(D, D))).astype("f")
               for name in ("query", "key", "value", "output")},
  }  # fmt: skip


def torch_loss(torch, batch, params, kind):
  """The published computation, in torch and float64."""
  unit = lambda x: x / x.norm(dim=-1, keepdim=True)
  of = lambda name: torch.tensor(batch[name], dtype=torch.float64)
  text, queries, labels = of("text"), of("queries"), torch.tensor(
    batch["labels"])  # fmt: skip
  rows = torch.cat([text[:, None], of("shots")], dim=1)
  if kind == "bias":
    asked = unit(queries + params["query"].mean(0))
    keys = unit(rows + params["key"][:, None])
    values = unit(rows + params["value"][:, None])
    output = lambda x: unit(x + params["output"])
    classifier = unit(text + params["text"])
  else:
    asked = unit(queries + queries @ params["query"])
    keys = unit(rows + rows @ params["key"])
    values = unit(rows + rows @ params["value"])
    output = lambda x: unit(x + x @ params["output"])
    classifier = text
  weights = torch.exp(-5.5 * (1 - torch.einsum("bd,cpd->bcp", asked, keys)))
  answers = output(unit(torch.einsum("bcp,cpd->bcd", weights, values)))
  static = 100 * torch.einsum("bcd,bd->bc", answers, queries)
  loss = torch.nn.functional.cross_entropy
  return loss(static, labels) + loss(100 * queries @ classifier.T, labels)


CLASSES = {
  "bias": reading.BiasProjection,
  "linear": reading.LinearProjection,
}


def our_loss(batch):
  static = class_rows(
    text=batch["text"], shots=batch["shots"], num_classes=C, dim=D
  )
  return lambda projection: shot_training.loss(
    projection, jnp.asarray(batch["queries"]), jnp.asarray(batch["labels"]),
    static=static, text=jnp.asarray(batch["text"]), mask=jnp.ones(B, bool),
    seen=jnp.ones((1, 1, 1), bool), sharpness=5.5, inverse_temperature=100.0,
  )  # fmt: skip


@pytest.mark.parametrize("kind", CLASSES)
def test_loss_gradient_and_steps_equal_torch(batch, kind):
  torch = pytest.importorskip("torch", reason="the oracle is torch")
  params = {
    name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
    for name, value in batch[kind].items()
  }
  expected = torch_loss(torch, batch, params, kind)
  expected.backward()
  step = jax.jit(jax.value_and_grad(our_loss(batch)))
  projection = CLASSES[kind](**batch[kind])
  value, gradient = step(projection)
  np.testing.assert_allclose(value, float(expected.detach()), rtol=1e-5)
  for name, param in params.items():
    truth = param.grad.numpy()
    np.testing.assert_allclose(
      getattr(gradient, name), truth, atol=2e-5 * np.abs(truth).max()
    )
  # AdamW and its schedule, for as many steps as a short training has.
  steps, rate = 6, 1e-2
  adamw = torch.optim.AdamW(params.values(), lr=rate, eps=1e-8,
                            weight_decay=1e-4)  # fmt: skip
  cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adamw, steps, 1e-7)
  ours = shot_training.optimizer(
    shot_training.TrainSettings(learning_rate=rate, epochs=1), steps
  )
  state = ours.init(projection)
  for _ in range(steps):
    adamw.zero_grad()
    torch_loss(torch, batch, params, kind).backward()
    adamw.step()
    cosine.step()
    updates, state = ours.update(step(projection)[1], state, projection)
    projection = optax.apply_updates(projection, updates)
  for name, param in params.items():
    np.testing.assert_allclose(
      getattr(projection, name), param.detach().numpy(), atol=2e-4
    )


def test_training_lowers_the_loss_and_hides_a_shot_from_itself(batch):
  queries = batch["shots"].reshape(-1, 1, D)
  given = dict(
    labels=np.repeat(np.arange(C), S),
    static=class_rows(
      text=batch["text"], shots=batch["shots"], num_classes=C, dim=D
    ),
    text=batch["text"], key=jax.random.key(0),
  )  # fmt: skip
  start = reading.init_bias(num_classes=C, dim=D)
  settings = dict(learning_rate=1e-2, epochs=20, batch_size=4)
  firsts = []
  for exclude in (False, True):
    trained, losses = shot_training.train(
      start, queries, settings=shot_training.TrainSettings(
        exclude_self=exclude, **settings), **given,
    )  # fmt: skip
    assert losses.shape == (
      80,
    )  # 15 shots are three batches of 4 and one of 3.
    assert losses[-4:].mean() < 0.5 * losses[:4].mean()
    assert np.isfinite(trained.key).all() and np.abs(trained.key).max() > 0
    firsts.append(losses[0])
  assert firsts[1] > firsts[0]  # Without its own row a shot is harder.


def test_shots_are_nested_and_saved(tmp_path):
  labels = np.tile(np.arange(4), 10)
  ids = np.array([f"image/{i}" for i in range(40)], object)
  draw = lambda **given: shots_lib.draw_shots(
    labels, ids, "abcd", **{"num_shots": 8, "seed": 0} | given
  )
  shots = draw()
  np.testing.assert_array_equal(shots.first(2).ids, draw(num_shots=2).ids)
  assert (labels[shots.rows_in(ids)] == np.arange(4)[:, None]).all()
  # Another image of the class changes only who it replaces.
  more = shots_lib.draw_shots(
    np.append(labels, 0), np.append(ids, "image/new"), "abcd",
    num_shots=8, seed=0,
  )  # fmt: skip
  np.testing.assert_array_equal(more.ids[1:], shots.ids[1:])
  assert len(set(more.ids[0]) - set(shots.ids[0])) <= 1
  assert (draw(seed=1).ids != shots.ids).any()
  shots_lib.save_shots(shots, tmp_path / "shots.json")
  written = json.loads((tmp_path / "shots.json").read_text())
  assert written["ids"] == shots.ids.tolist() and written["seed"] == 0
  # Python's own sample, seeded before each class.
  published = shots_lib.published_shots(labels, ids, "abcd", num_shots=3)
  for label in range(4):
    random.seed(0)
    expected = random.sample([*ids[labels == label]], 3)
    assert list(published.ids[label]) == expected
  with pytest.raises(ValueError, match="class 'a' has 10 images, and 11 shots"):
    draw(num_shots=11)
  with pytest.raises(ValueError, match="'image/39' is not among the rows"):
    draw(num_shots=10).rows_in(ids[:39])


def test_texts_of_classes(tmp_path):
  path = tmp_path / "cupl.json"
  path.write_text(json.dumps({"polar bear": ["White."], "cat": ["It purrs."]}))
  written = class_texts.read_descriptions(path)
  texts = class_texts.class_texts(
    ["polar_bear", "cat"], templates("dtd"), descriptions=written
  )
  assert texts == [["polar bear texture.", "White."],
                   ["cat texture.", "It purrs."]]  # fmt: skip
  with pytest.raises(ValueError, match="1 classes have no description, 'dog'"):
    class_texts.class_texts(["dog", "cat"], (), descriptions=written)
  with pytest.raises(ValueError, match="neither a template nor"):
    class_texts.class_texts(["dog"], ())
  path.write_text('{"cat": "purrs"}')
  with pytest.raises(ValueError, match="class name: .sentence"):
    class_texts.read_descriptions(path)


def test_split_files(tmp_path):
  """CoOp's layout: paths below a folder, labels and names in every row."""
  for name in ("banded/a.jpg", "banded/b.jpg", "dotted/c.jpg"):
    path = tmp_path / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 4), (9, 8, 7)).save(path)
  rows = {
    "train": [["dotted/c.jpg", 1, "dotted"], ["banded/a.jpg", 0, "banded"]],
    "val": [],
    "test": [["banded/b.jpg", 0, "banded"], ["banded/gone.jpg", 0, "banded"]],
  }
  listed = tmp_path / "split_zhou_Textures.json"
  listed.write_text(json.dumps(rows))
  given = dict(path=tmp_path / "images", list_file=listed)
  train = sources.open_source("split_file", split="train", **given)
  assert train.class_names == ("banded", "dotted")
  assert train.labels.tolist() == [1, 0]  # In the order of the file.
  assert train.ids.tolist() == ["dotted/c.jpg", "banded/a.jpg"]
  assert train[0].image.shape == (4, 5, 3)
  test = sources.open_source("split_file", split="test", **given)
  assert test.class_names == train.class_names
  import visual_memory as vm

  encoder = vm.load_encoder("pixels", size=2)
  assert len(vm.embed(encoder, test, progress=False)) == 1  # One is missing.
  with pytest.raises(ValueError, match="no split 'dev'.*'test', 'train'"):
    sources.open_source("split_file", split="dev", **given)
  with pytest.raises(ValueError, match="None of the 2 listed images"):
    sources.open_source(
      "split_file", split="train", path=tmp_path, list_file=listed
    )
  for row, problem in (
    (["x.jpg", "1", "dotted"], "train, row 2.*not .path"),
    (["x.jpg", 1, "striped"], "label 1 'dotted' and 'striped'"),
    (["x.jpg", 7, "striped"], "do not run from 0 to 2"),
  ):
    bad = {**rows, "train": [*rows["train"], row]}
    listed.write_text(json.dumps(bad))
    with pytest.raises(ValueError, match=problem):
      sources.open_source("split_file", split="train", **given)


def test_aircraft_lists(tmp_path):
  (tmp_path / "images").mkdir()
  Image.new("RGB", (5, 4)).save(tmp_path / "images" / "0034309.jpg")
  (tmp_path / "variants.txt").write_text("707-320\nA340-300\n")
  (tmp_path / "images_variant_train.txt").write_text("0034309 A340-300\n")
  source = sources.open_source("aircraft", path=tmp_path, split="train")
  assert source.labels.tolist() == [1] and source[0].image.shape == (4, 5, 3)
  (tmp_path / "images_variant_train.txt").write_text("0034309 A380\n")
  with pytest.raises(ValueError, match="'A380' of image 0034309"):
    sources.open_source("aircraft", path=tmp_path, split="train")


@pytest.fixture(scope="module")
def photo():
  """Something smooth with edges, 90 x 120."""
  y, x = np.mgrid[:90, :120]
  waves = [
    128 + 90 * np.sin(x / a + y / b) for a, b in ((7, 9), (5, -8), (11, 4))
  ]
  image = np.stack(waves, axis=-1)
  image[30:60, 40:90] *= 0.3
  return np.clip(image, 0, 255).astype(np.uint8)


def test_crops_are_pillows(photo):
  """Bilinear with antialiasing: within one level of 255, mostly equal."""
  canvas, size = embed_views.on_canvas(photo, 128)
  assert size.tolist() == [90, 120]
  crop = jax.jit(
    lambda box: crops.resized_crop(
      canvas, box, size=32, kernel="triangle", rounded=True
    )
  )
  for box in ((0, 0, 90, 120), (10, 25, 64, 64), (3, 7, 70, 55)):
    top, left, height, width = box
    expected = Image.fromarray(
      photo[top : top + height, left : left + width]
    ).resize((32, 32), Image.Resampling.BILINEAR)
    ours = np.asarray(crop(jnp.array(box)))
    differences = np.abs(ours - np.asarray(expected))
    assert differences.max() <= 1 and (differences > 0).mean() < 0.02


def test_crop_boxes_are_those_of_torchvision():
  """Area and ratio in range, inside the image, or the center."""
  draw = lambda key, size: crops.random_box(
    key, size[0], size[1], scale=embed_views.SCALE, ratio=embed_views.RATIO
  )
  boxes = jax.jit(jax.vmap(draw, (0, None)))
  keys = jax.random.split(jax.random.key(0), 2000)
  top, left, height, width = np.asarray(boxes(keys, jnp.array([90, 120]))).T
  assert (top >= 0).all() and (top + height <= 90).all()
  assert (left >= 0).all() and (left + width <= 120).all()
  area, ratio = height * width / (90 * 120), width / height
  assert 0.48 < area.min() and area.max() <= 1 and 0.7 < ratio.min() < 0.8
  assert 1.25 < ratio.max() < 1.36
  assert np.unique(top).size > 20 and np.unique(left).size > 30
  long = np.asarray(boxes(keys, jnp.array([20, 400])))  # Nothing fits.
  assert (long == [0, 186, 20, 27]).all()


PILLOW = {
  "autocontrast": lambda image, level: ImageOps.autocontrast(image),
  "equalize": lambda image, level: ImageOps.equalize(image),
  "posterize": lambda image, level: ImageOps.posterize(
    image, 4 - int(level * 4 / 10)
  ),
  "solarize": lambda image, level: ImageOps.solarize(
    image, 256 - int(level * 256 / 10)
  ),
  "rotate": lambda image, level: image.rotate(
    int(level * 30 / 10), resample=Image.BILINEAR
  ),
  "shear_x": lambda image, level: image.transform(
    image.size, Image.AFFINE, (1, level * 0.3 / 10, 0, 0, 1, 0), Image.BILINEAR
  ),
  "translate_y": lambda image, level: image.transform(
    image.size, Image.AFFINE,
    (1, 0, 0, 0, 1, int(level * image.size[0] / 3 / 10)), Image.BILINEAR,
  ),
}  # fmt: skip


def test_alterations_are_pillows(photo):
  image = photo[:90, :90] // 2 + 40
  alter = jax.jit(augmix.alter)
  for name, expected in PILLOW.items():
    for level in (0.9, 4.0):
      which = augmix.OPERATIONS.index(name)
      ours = np.asarray(alter(jnp.float32(image), which, level, 1.0))
      theirs = np.asarray(expected(Image.fromarray(image), level))
      differences = np.abs(ours - theirs)
      exact = name in ("autocontrast", "equalize", "posterize", "solarize")
      if exact:
        assert differences.max() <= (1 if name == "autocontrast" else 0), name
      else:  # Pixels at the border of the image may fall on either side.
        assert (differences > 1).mean() < 0.01, (name, level)


def test_views_depend_on_id_and_seed_alone(tmp_path):
  source = sources.open_source("digits", split="test")
  encoder = encoder_lib.load_encoder("pixels", size=8)
  given = dict(num_views=3, canvas=16, augmix=True)
  embed = lambda rows, seed, mesh, cache_dir=None: embed_views.embed_views(
    encoder,
    source,
    np.array(rows),
    seed=seed,
    mesh=mesh,
    cache_dir=cache_dir,
    **given,
  )
  one, eight = distributed.make_mesh(1), distributed.make_mesh()
  found = embed([4, 9, 2], 0, one)
  assert found.shape == (3, 3, 192) and found.dtype == np.float16
  np.testing.assert_array_equal(embed([2, 4, 9], 0, eight)[[1, 2, 0]], found)
  assert (embed([4, 9, 2], 1, one) != found).any()
  assert (found[:, 0] != found[:, 1]).any()
  for _ in range(2):
    np.testing.assert_array_equal(embed([4, 9, 2], 0, one, tmp_path), found)
  assert len(list(tmp_path.iterdir())) == 1
  lengths = np.linalg.norm(found.astype(np.float32), axis=-1)
  np.testing.assert_allclose(lengths, 1, atol=2e-3)
  centers = np.zeros((3, 192), np.float32)
  assert embed_views.with_centers(centers, found).shape == (3, 4, 192)
  none = np.empty((3, 0, 192), np.float16)
  assert embed_views.with_centers(centers, none).dtype == np.float32


def test_a_shot_test_without_text():
  """Weights come from the shots; the labels of the test decide nothing."""
  rng = np.random.default_rng(0)
  centers = unit(rng.normal(size=(4, 16)))
  labels = rng.integers(0, 4, 60).astype(np.int32)
  near = lambda rows: unit(rows + 0.15 * rng.normal(size=rows.shape))
  asked = guesses.Asked(views=near(centers[labels])[:, None], labels=labels)
  shots = near(np.repeat(centers[:, None], 4, axis=1))
  mesh = distributed.make_mesh(1)
  run = lambda asked: protocol.shot_test(
    guesses.by_vote(max_k=100, temperature=0.07, mesh=mesh), shots, asked,
    text=None, num_classes=4, settings=Settings(num_slots=6),
    candidates=[(5.5, 100.0), (20.0, 10.0)], held_out=None, fit=None, mesh=mesh,
  )  # fmt: skip
  found = run(asked)
  assert found.num_tuning == 16 and found.used_slots == 24
  assert min(found.accuracy.values()) > 0.9
  shuffled = guesses.Asked(views=asked.views, labels=rng.permutation(labels))
  assert run(shuffled).chosen == found.chosen
