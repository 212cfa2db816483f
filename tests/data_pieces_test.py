"""Windows of known class and crops to recognize, as rows."""

import numpy as np
import pytest

import visual_memory as vm
from visual_memory.data import pieces

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
