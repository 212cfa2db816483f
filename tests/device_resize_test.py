"""Pictures resized by the device: the host's bits, one program for all."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

import visual_memory as vm
from visual_memory import distributed
from visual_memory.data import array_source
from visual_memory.data.decoding import UnreadableImage
from visual_memory.data.folder import folder
from visual_memory.data.preprocess import PRESETS, Preprocess, square
from visual_memory.encoders.embedding import device_resize
from visual_memory.encoders.embedding.device_resize import DeviceResize, chosen
from visual_memory.encoders.embedding.embed import embed, embed_with_report

RECT = Preprocess(
  resize=(70, 90), crop=(64, 80), interpolation="bilinear",
  crop_offset="floor", long_side="round",
)  # fmt: skip
SMALL = square(16)


class Pictures:
  """Noise, stripes and edges of all sizes; some cannot be read."""

  def __init__(self, count, *, sizes=(3, 200), unreadable=(), seed=0):
    rng = np.random.default_rng(seed)
    self.images = [
      rng.integers(0, 256, (*rng.integers(*sizes, 2), 3), np.uint8)
      if row % 2
      else rng.integers(0, 2, (*rng.integers(*sizes, 2), 3), np.uint8) * 255
      for row in range(count)
    ]
    self.unreadable = unreadable
    plain = array_source.array_source(
      np.zeros((count, 1, 1), np.uint8), np.arange(count) % 2,
      ids=[f"row/{row}" for row in range(count)], class_names=["a", "b"],
      fingerprint=f"pictures-{count}-{sizes}-{unreadable}-{seed}",
    )  # fmt: skip
    self.labels, self.ids = plain.labels, plain.ids
    self.class_names, self.fingerprint = plain.class_names, plain.fingerprint

  def __len__(self):
    return len(self.images)

  def __getitem__(self, row):
    if row in self.unreadable:
      raise UnreadableImage(self.ids[row], "it is torn")
    return vm.types.Example(
      image=self.images[row], label=int(self.labels[row]), id=self.ids[row]
    )


def _lines(kept, images):
  lines = np.zeros((len(images), *kept.shape), np.uint8)
  for image, line in zip(images, lines, strict=True):
    kept.write(image, line)
  return lines


@pytest.mark.parametrize(
  ("preprocess", "side", "sizes"),
  [
    (PRESETS["dino"], 384, (150, 420)),
    (PRESETS["clip"], 256, (150, 400)),
    (RECT, 256, (5, 400)),
    (square(64), 128, (1, 130)),
    (SMALL, 128, (1, 300)),
  ],
)
def test_the_devices_pixels_are_pillows(preprocess, side, sizes):
  kept = DeviceResize(preprocess=preprocess, side=side)
  images = Pictures(12, sizes=sizes).images
  images += [images[0][:1], images[1][:, :1], images[2].repeat(9, axis=0)]
  images.append(images[4].repeat(4, axis=0).repeat(4, axis=1))
  images.append(images[3][: preprocess.shape[0], : preprocess.shape[1]])
  fit = [kept.fits(*image.shape[:2]) for image in images]
  assert any(fit) and not all(fit)  # Some are left to the host.
  lines = _lines(kept, images)
  np.testing.assert_array_equal(
    lines, _lines(kept, [Image.fromarray(image) for image in images])
  )
  found = kept.pixels(lines, mesh=distributed.make_mesh(1))
  for pixels, image in zip(np.asarray(found), images, strict=True):
    np.testing.assert_array_equal(pixels, preprocess(image))


def test_photographs_have_the_same_pixels(data_file):
  source = folder(data_file("imagenet_sample_200.zip"), unlabeled=True)
  preprocess = PRESETS["dino"]
  mesh = distributed.make_mesh(1)
  kept = chosen("device", preprocess, source, mesh=mesh)
  assert kept.side in (384, 512)
  rows = range(0, len(source), 10)
  lines = _lines(kept, [source.unpacked(row) for row in rows])
  found = np.asarray(kept.pixels(lines, mesh=mesh))
  for pixels, row in zip(found, rows, strict=True):
    np.testing.assert_array_equal(pixels, preprocess(source[row].image))


@pytest.mark.parametrize("num_devices", [1, 3])
def test_embeddings_are_the_same_wherever_pictures_are_resized(
  num_devices, tmp_path
):
  encoder = vm.load_encoder(
    "vit_random", size=16, patch=4, dim=32, depth=1, heads=2
  )
  source = Pictures(150, unreadable=(0, 7, 149))
  mesh = distributed.make_mesh(num_devices)
  on = lambda where, **options: embed_with_report(
    encoder, source, mesh=mesh, resize_on=where, progress=False, **options
  )
  host, report = on("host")
  found, other = on("device", cache_dir=tmp_path)
  np.testing.assert_array_equal(found.embeddings, host.embeddings)
  assert found.ids.tolist() == host.ids.tolist()
  assert found.fingerprint == host.fingerprint
  assert other.skipped == report.skipped and len(report.skipped) == 3
  again, read = on("auto", cache_dir=tmp_path)
  assert read.num_reused == 150
  np.testing.assert_array_equal(again.embeddings, host.embeddings)
  # A part of the pictures, under other names: some are known already.
  part = Pictures(200, unreadable=(1, 7))
  part.fingerprint = "others"
  source = part
  known, report = on("device", cache_dir=tmp_path)
  assert report.num_reused == 146
  fresh, _ = on("host")
  np.testing.assert_allclose(known.embeddings, fresh.embeddings, atol=1e-6)


def test_one_program_resizes_pictures_of_all_sizes(mesh):
  encoder = vm.load_encoder("pixels", size=16)
  counts = []
  for count, sizes in ((100, (20, 90)), (3, (60, 110)), (40, (1, 300))):
    source = Pictures(count, sizes=sizes)
    embed(encoder, source, mesh=mesh, resize_on="device", progress=False)
    counts.append(device_resize._pixels._cache_size())
  # Sources of larger pictures may have another square: here the last one.
  assert counts[1] == counts[0] and counts[2] <= counts[0] + 1


def test_who_resizes_is_chosen_by_the_devices_and_by_the_rule(mesh):
  source, torn = Pictures(9), Pictures(2, unreadable=(0, 1))
  assert device_resize.wanted("auto", "gpu")
  assert device_resize.wanted("auto", "tpu")
  assert not device_resize.wanted("host", "gpu")
  assert chosen("auto", SMALL, source, mesh=mesh) is None  # These are CPUs.
  assert chosen("device", RECT, source, mesh=mesh).side == 256
  assert chosen("device", SMALL, torn, mesh=mesh).side == 128
  # Nothing larger is sent than what the host would not rather resize.
  large = Pictures(1, sizes=(1500, 1501))
  assert chosen("device", PRESETS["clip"], large, mesh=mesh).side == 256
  with pytest.raises(ValueError, match="can be: auto, host, device"):
    embed(vm.load_encoder("pixels"), source, resize_on="gpu", mesh=mesh)
  for preprocess in (
    PRESETS["as_published_dino"],
    dataclasses.replace(SMALL, interpolation="lanczos"),
    square(2),
  ):
    with pytest.raises(ValueError, match="Only the host resizes so"):
      chosen("device", preprocess, source, mesh=mesh)


def test_devices_that_give_other_pixels_do_not_resize(mesh, monkeypatch):
  kind = chosen("device", SMALL, Pictures(3), mesh=mesh)
  assert device_resize.agrees(kind, mesh)
  resized = device_resize._resized
  monkeypatch.setattr(
    device_resize, "_resized", lambda *given: resized(*given) ^ 1
  )
  for cached in (device_resize.agrees, device_resize._pixels):
    getattr(cached, "cache_clear", getattr(cached, "clear_cache", None))()
  monkeypatch.setattr(device_resize, "_trusted", device_resize.agrees)
  with pytest.warns(UserWarning, match="does not resize as Pillow does"):
    assert chosen("device", SMALL, Pictures(3), mesh=mesh) is None
  device_resize.agrees.cache_clear()
  device_resize._pixels.clear_cache()
