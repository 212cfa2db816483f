"""Segmentation data in the published layouts, whole and broken."""

import json
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from visual_memory.data.sources import open_source
from visual_memory.types import UNLABELED

HEIGHT, WIDTH = 6, 8


def picture(path, shade=9):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.full((HEIGHT, WIDTH, 3), shade, np.uint8)).save(path)


def indexed(path, values):
  """A palette PNG whose indices are the classes, as published."""
  path.parent.mkdir(parents=True, exist_ok=True)
  image = Image.fromarray(np.asarray(values, np.uint8), mode="P")
  image.putpalette(bytes(range(256)) * 3)
  image.save(path)


def halves(left, right):
  mask = np.full((HEIGHT, WIDTH), left)
  mask[:, WIDTH // 2 :] = right
  return mask


@pytest.fixture
def camvid(tmp_path):
  for name in ("a", "b"):
    picture(tmp_path / f"camvid/train/{name}.png")
    indexed(tmp_path / f"camvid/trainannot/{name}.png", halves(3, 11))
  return tmp_path


@pytest.fixture
def voc(tmp_path):
  for name in ("x", "y"):
    picture(tmp_path / f"VOC2012/JPEGImages/{name}.jpg")
  indexed(tmp_path / "VOC2012/SegmentationClass/y.png", halves(15, 255))
  lists = tmp_path / "VOC2012/ImageSets/Segmentation"
  lists.mkdir(parents=True)
  (lists / "val.txt").write_text("y\n")
  (lists / "train.txt").write_text("x\n")
  return tmp_path


@pytest.fixture
def coco(tmp_path):
  """Two squares, the second over the first, and a crowd as run lengths."""
  picture(tmp_path / "val2017/000000000007.jpg")
  picture(tmp_path / "val2017/000000000009.jpg")
  crowd = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
  crowd[:, 0] = 1
  runs = [0, HEIGHT, HEIGHT * (WIDTH - 1)]

  def square(number, category, box):
    x0, y0, x1, y1 = box
    return {
      "id": number, "image_id": 7, "category_id": category, "iscrowd": 0,
      "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
    }  # fmt: skip

  size = {"height": HEIGHT, "width": WIDTH}
  content = {
    "images": [
      {"id": 9, "file_name": "000000000009.jpg", **size},
      {"id": 7, "file_name": "000000000007.jpg", **size},
    ],
    "categories": [{"id": 90, "name": "toy"}, {"id": 2, "name": "bicycle"}],
    "annotations": [
      square(1, 90, (2, 1, 6, 5)),
      square(2, 2, (4, 3, 8, 6)),
      {
        "id": 3, "image_id": 7, "category_id": 2, "iscrowd": 1,
        "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs},
      },
    ],
  }  # fmt: skip
  folder = tmp_path / "annotations"
  folder.mkdir()
  (folder / "instances_val2017.json").write_text(json.dumps(content))
  return tmp_path


def test_camvid(camvid):
  source = open_source("camvid", path=camvid, split="train")
  assert source.ids.tolist() == ["train/a", "train/b"]
  assert source.class_names[3] == "road" and len(source.class_names) == 11
  assert source[1].image.shape == (HEIGHT, WIDTH, 3)
  np.testing.assert_array_equal(source.mask(1), halves(3, UNLABELED))
  copy = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(copy.mask(0), source.mask(0))


def test_camvid_in_a_zip_is_the_same(camvid, tmp_path):
  with zipfile.ZipFile(tmp_path / "camvid.zip", "w") as archive:
    for file in sorted(camvid.rglob("*.png")):
      archive.write(file, file.relative_to(camvid))
  source = open_source("camvid", path=tmp_path / "camvid.zip", split="train")
  np.testing.assert_array_equal(source.mask(0), halves(3, UNLABELED))


def test_voc_lists_its_splits(voc):
  source = open_source("voc", path=voc, split="val")
  assert source.ids.tolist() == ["JPEGImages/y"]
  assert source.class_names[15] == "person"
  np.testing.assert_array_equal(source.mask(0), halves(15, UNLABELED))


def test_ade20k_parsing(tmp_path):
  picture(tmp_path / "images/validation/A1.jpg")
  indexed(tmp_path / "annotations/validation/A1.png", halves(0, 2))
  names = "Idx\tRatio\tTrain\tVal\tName\n1\t0\t1\t1\twall\n2\t0\t1\t1\tsky\n"
  (tmp_path / "objectInfo150.txt").write_text(names)
  source = open_source("ade20k", path=tmp_path, split="validation")
  assert source.class_names == ("wall", "sky")
  np.testing.assert_array_equal(source.mask(0), halves(UNLABELED, 1))


def test_ade20k_full_codes_classes_in_colors(tmp_path):
  folder = tmp_path / "images/ADE/training/work/office"
  picture(folder / "A7.jpg")
  colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
  colors[:, 4:] = (70, 39, 1)  # 70 // 10 * 256 + 39: a person
  Image.fromarray(colors).save(folder / "A7_seg.png")
  Image.fromarray(colors).save(folder / "A7_parts_1.png")
  source = open_source("ade20k_full", path=tmp_path, split="training")
  assert source.ids.tolist() == ["images/ADE/training/work/office/A7"]
  np.testing.assert_array_equal(source.mask(0), halves(UNLABELED, 1831))


def test_coco_paints_instances_in_their_order(coco):
  pytest.importorskip("pycocotools", reason="needs the extra: perception")
  source = open_source("coco", path=coco, split="val")
  assert source.class_names == ("background", "bicycle", "toy")
  assert source.ids.tolist() == [
    "val2017/000000000007.jpg",
    "val2017/000000000009.jpg",
  ]
  expected = np.zeros((HEIGHT, WIDTH), int)
  expected[1:5, 2:6] = 2
  expected[3:6, 4:8] = 1
  expected[:, 0] = 1
  np.testing.assert_array_equal(source.mask(0), expected)
  assert not source.mask(1).any()


def test_a_wrong_split_is_named(camvid, voc):
  with pytest.raises(ValueError, match="'test' in .* is the split's name"):
    open_source("camvid", path=camvid, split="test")
  with pytest.raises(ValueError, match="Segmentation/test.txt"):
    open_source("voc", path=voc, split="test")
  with pytest.raises(ValueError, match="instances_test2017.json"):
    pytest.importorskip("pycocotools")
    open_source("coco", path=camvid, split="test")


def test_an_image_without_mask_is_named(camvid, voc):
  (camvid / "camvid/trainannot/b.png").unlink()
  with pytest.raises(ValueError, match="There is no mask 'b'"):
    open_source("camvid", path=camvid, split="train")
  with pytest.raises(ValueError, match="There is no mask 'x'"):
    open_source("voc", path=voc, split="train")


def test_an_image_that_coco_names_and_that_is_not_there(coco):
  pytest.importorskip("pycocotools")
  (coco / "val2017/000000000009.jpg").unlink()
  with pytest.raises(ValueError, match="first: '000000000009.jpg'"):
    open_source("coco", path=coco, split="val")


@pytest.mark.parametrize(
  "values, message",
  [
    (np.zeros((HEIGHT, WIDTH + 1)), r"'train/a' is 6 x 9 .* image is 6 x 8"),
    (halves(3, 12), "'train/a' holds class 12; there are 11 classes"),
  ],
)
def test_masks_that_do_not_fit(camvid, values, message):
  indexed(camvid / "camvid/trainannot/a.png", values)
  source = open_source("camvid", path=camvid, split="train")
  with pytest.raises(ValueError, match=message):
    source.mask(0)
  source.mask(1)  # The others can be read.


def test_masks_of_another_kind(camvid):
  picture(camvid / "camvid/trainannot/a.png")
  (camvid / "camvid/trainannot/b.png").write_bytes(b"\x89PNG cut off")
  source = open_source("camvid", path=camvid, split="train")
  with pytest.raises(ValueError, match="it has colors, where one index"):
    source.mask(0)
  with pytest.raises(ValueError, match="trainannot/b.png' cannot be read"):
    source.mask(1)


@pytest.fixture
def ade(tmp_path):
  """Both layouts of ADE20K in one folder."""
  picture(tmp_path / "images/validation/A1.jpg")
  indexed(tmp_path / "annotations/validation/A1.png", halves(0, 2))
  names = "Idx\tRatio\tTrain\tVal\tName\n1\t0\t1\t1\twall\n2\t0\t1\t1\tsky\n"
  (tmp_path / "objectInfo150.txt").write_text(names)
  picture(tmp_path / "images/ADE/training/A7.jpg")
  picture(tmp_path / "images/ADE/training/A7_seg.png", shade=75)
  return tmp_path


MASKS = {
  "voc": ("val", "VOC2012/SegmentationClass/y.png"),
  "ade20k": ("validation", "annotations/validation/A1.png"),
  "ade20k_full": ("training", "images/ADE/training/A7_seg.png"),
}


@pytest.mark.parametrize("name", MASKS)
def test_every_layout_names_what_is_broken(name, voc, ade):
  assert voc == ade  # One folder holds all of them.
  split, place = MASKS[name]
  file = voc / place
  open_masks = lambda: open_source(name, path=voc, split=split)
  size = (HEIGHT + 1, WIDTH)
  if name == "ade20k_full":
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(file)
  else:
    indexed(file, np.ones(size))
  with pytest.raises(ValueError, match=r"is 7 x 8 pixels, .* image is 6 x 8"):
    open_masks().mask(0)
  file.write_bytes(file.read_bytes()[:40])
  with pytest.raises(ValueError, match=f"{file.name}' cannot be read"):
    open_masks().mask(0)
  if name == "ade20k_full":  # All its codes exist: what is wrong is no color.
    indexed(file, halves(1, 2))
    message = "no colors, in which the class is coded"
  else:
    indexed(file, halves(1, 200))
    message = r"holds class (200|199); there are (21|2) classes"
  with pytest.raises(ValueError, match=message):
    open_masks().mask(0)
  if name != "ade20k_full":
    picture(file)
    with pytest.raises(ValueError, match="it has colors, where one index"):
      open_masks().mask(0)
  file.unlink()
  with pytest.raises(ValueError, match="There (is no mask|are no images)"):
    open_masks()
  with pytest.raises(ValueError, match="is the split's name right"):
    open_source(name, path=voc, split="trian")


@pytest.mark.parametrize(
  "change, message",
  [
    (lambda text: text[: len(text) // 2], "not a file of COCO instances"),
    (lambda text: text.replace('"images"', '"pictures"'), "names no images"),
    (
      lambda text: text.replace('"category_id": 90', '"category_id": 91'),
      "instances of category 91, which is not among its 2 categories",
    ),
  ],
)
def test_broken_annotations_of_coco(coco, change, message):
  pytest.importorskip("pycocotools", reason="needs the extra: perception")
  file = coco / "annotations/instances_val2017.json"
  file.write_text(change(file.read_text()))
  with pytest.raises(ValueError, match=message):
    open_source("coco", path=coco, split="val")


@pytest.mark.parametrize(
  "change, message",
  [
    ({"height": 10**9}, "no size of an image"),
    ({"height": 10**6, "width": 10**6}, "no size of an image"),
    ({"height": -8}, "no size of an image"),
    ({"height": 0}, "no size of an image"),
    ({"height": 8.5}, "no size of an image"),
    ({"height": True}, "no size of an image"),
    ({"width": "8"}, "no size of an image"),
    ({"width": None}, "no size of an image"),
    ({"size": [10**6, 10**6]}, "no region of the image"),
    ({"size": ["a", 3]}, "no region of the image"),
    ({"counts": [5, 10**9]}, "no region of the image"),
    ({"counts": [-5, 10**9]}, "no region of the image"),
    ({"counts": "a b"}, "no region of the image"),
    ({"counts": None}, "no region of the image"),
    ({"segmentation": [["x"] * 8]}, "no region of the image"),
    ({"segmentation": 7}, "no region of the image"),
  ],
)
def test_sizes_that_coco_declares_and_nothing_has(coco, change, message):
  """A stranger's annotations reserve no memory and write past no array."""
  pytest.importorskip("pycocotools", reason="needs the extra: perception")
  file = coco / "annotations/instances_val2017.json"
  content = json.loads(file.read_text())
  for part in content["images"] + content["annotations"]:
    if "segmentation" in part and isinstance(part["segmentation"], dict):
      told = {"size", "counts"} & set(change)
      part["segmentation"] |= {name: change[name] for name in told}
    if "segmentation" in part and "segmentation" in change:
      part["segmentation"] = change["segmentation"]
    if "file_name" in part:
      part |= {n: v for n, v in change.items() if n in ("height", "width")}
  file.write_text(json.dumps(content))
  source = open_source("coco", path=coco, split="val")
  with pytest.raises(ValueError, match=message):
    for row in range(len(source)):
      source.mask(row)


def test_a_picture_of_coco_of_another_size(coco):
  pytest.importorskip("pycocotools", reason="needs the extra: perception")
  Image.new("RGB", (WIDTH, HEIGHT + 2)).save(coco / "val2017/000000000007.jpg")
  source = open_source("coco", path=coco, split="val")
  with pytest.raises(ValueError, match="is 6 x 8 pixels, .* image is 8 x 8"):
    source.mask(0)


def test_the_real_camvid(data_file):
  source = open_source("camvid", path=data_file("camvid_180.zip"), split="test")
  assert len(source) == 60
  mask = source.mask(0)
  assert mask.shape == source[0].image.shape[:2] == (360, 480)
  assert set(np.unique(mask)) <= set(range(-1, 11))
