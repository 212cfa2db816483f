"""Pictures, archives and lists from a stranger: read rightly, or refused."""

import io
import json
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image
from reports_trials_test import make

from visual_memory import files
from visual_memory.analysis.human_study import responses
from visual_memory.data import (
  array_source,
  contents,
  decoding,
  file_trees,
  relabeling,
  split_files,
)


def png(width=5, height=4):
  buffer = io.BytesIO()
  Image.new("RGB", (width, height), "red").save(buffer, "PNG")
  return buffer.getvalue()


def png_of_size(width, height):
  """A PNG whose header lies: all the pixels it has are black and packed."""
  chunk = lambda kind, data: (
    struct.pack(">I", len(data)) + kind + data
    + struct.pack(">I", zlib.crc32(kind + data))
  )  # fmt: skip
  header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
  return (
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
  )  # fmt: skip


# Archives.


def archive(path, name="a/1.png", data=None, *, method=zipfile.ZIP_DEFLATED):
  with zipfile.ZipFile(path, "w", method) as file:
    file.writestr(name, png() if data is None else data)
  return path


def patched(path, find, replace, *, last=True):
  """The archive with one field of its directory changed."""
  raw = bytearray(path.read_bytes())
  at = raw.rfind(find) if last else raw.find(find)
  raw[at : at + len(replace)] = replace
  path.write_bytes(raw)


def directory_field(path, offset, value):
  """Sets four bytes of the first entry in the archive's directory."""
  raw = bytearray(path.read_bytes())
  at = raw.find(b"PK\x01\x02") + offset
  raw[at : at + 4] = struct.pack("<I", value)
  path.write_bytes(raw)


@pytest.mark.parametrize("declared", [1, 10_000, 0])
def test_an_entry_unpacks_to_what_it_declares(declared, tmp_path):
  """200 MB in 200 kB that call themselves small are not unpacked."""
  path = archive(tmp_path / "a.zip", data=bytes(200_000_000))
  directory_field(path, 24, declared)
  tree = file_trees.open_tree(path)
  tracemalloc.start()
  with pytest.raises(OSError, match="fails the checksum"):
    tree.read("a/1.png")
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 20e6


def test_an_entry_may_not_declare_too_much(tmp_path):
  path = archive(tmp_path / "a.zip")
  directory_field(path, 24, contents.MAX_FILE_BYTES + 1)
  tree = file_trees.open_tree(path)
  assert tree.paths == []
  assert tree.problems[0][0] == "a/1.png"
  assert "more than any picture" in tree.problems[0][1]


def test_a_long_file_of_a_folder_is_refused(tmp_path, monkeypatch):
  (tmp_path / "a.png").write_bytes(bytes(101))
  monkeypatch.setattr(contents, "MAX_FILE_BYTES", 100)
  with pytest.raises(OSError, match="any picture"):
    file_trees.open_tree(tmp_path).read("a.png")


@pytest.mark.parametrize("offset", [20, 42])
def test_an_entry_lies_within_the_file(offset, tmp_path):
  """A packed length, or a beginning, beyond the end."""
  path = archive(tmp_path / "a.zip", method=zipfile.ZIP_STORED)
  directory_field(path, offset, 0x7FFFFFFF)
  tree = file_trees.open_tree(path)
  assert tree.paths == []
  assert tree.problems == [("a/1.png", "said to lie outside of the archive")]


def test_an_entry_without_its_header_is_damaged(tmp_path):
  path = archive(tmp_path / "a.zip")
  patched(path, b"PK\x03\x04", b"PK\x03\x05", last=False)
  with pytest.raises(OSError, match="damaged"):
    file_trees.open_tree(path).read("a/1.png")


def test_damaged_archives_are_refused_or_read_rightly(tmp_path):
  """Every byte of the directory and the headers, changed in turn."""
  path = archive(tmp_path / "a.zip")
  whole, expected = path.read_bytes(), png()
  rng = np.random.default_rng(0)
  for at in range(len(whole)):
    raw = bytearray(whole)
    raw[at] ^= int(rng.integers(1, 256))
    path.write_bytes(raw)
    try:
      tree = file_trees.open_tree(path)
    except ValueError as error:
      assert "\n" not in str(error)
      continue
    for name in tree.paths:
      try:
        assert tree.read(name) == expected
      except OSError:
        pass


# Pictures.


@pytest.mark.parametrize(
  "width, height", [(1 << 15, 1 << 15), (1 << 31 - 1, 1), (20_000, 10_000)]
)
def test_a_picture_of_too_many_pixels_is_not_unpacked(width, height):
  tracemalloc.start()
  with pytest.raises(decoding.UnreadableImage, match="Image 'a' cannot be"):
    decoding.decode_image(png_of_size(width, height), id="a")
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 20e6


def test_the_bound_does_not_depend_on_pillows(monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
  with pytest.raises(decoding.UnreadableImage, match="32,768 x 32,768 pixels"):
    decoding.decode_image(png_of_size(1 << 15, 1 << 15), id="a")


def test_a_program_is_not_run(monkeypatch):
  """PostScript, which Pillow hands to Ghostscript."""
  from PIL import EpsImagePlugin

  ran = []
  monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a: ran.append(a))
  page = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    b"(%pipe%touch it_ran) (w) file\n%%EOF\n"
  )
  with pytest.raises(decoding.UnreadableImage, match="cannot be read"):
    decoding.decode_image(page, id="a")
  assert not ran


@pytest.mark.filterwarnings("ignore")  # Pillow's, about what it skips.
def test_changed_pictures_are_read_or_unreadable():
  """Any byte of five formats: pixels come out, or the one error."""
  rng = np.random.default_rng(1)
  picture = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
  for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    whole = buffer.getvalue()
    for _ in range(150):
      raw = bytearray(whole)
      for at in rng.integers(0, len(raw), rng.integers(1, 5)):
        raw[at] = rng.integers(0, 256)
      if rng.random() < 0.2:
        raw = raw[: rng.integers(0, len(raw))]
      try:
        pixels = decoding.decode_image(bytes(raw), id="a")
      except decoding.UnreadableImage as error:
        assert "\n" not in str(error)
      else:
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3


# Arrays.


def npz(path, **arrays):
  np.savez(path, **arrays)
  return path


def with_header(path, header, body=b""):
  """An .npz of one array with this header."""
  text = repr(header).encode()
  text += b" " * (64 - (10 + len(text) + 1) % 64) + b"\n"
  data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("images.npy", data)
    file.writestr("labels.npy", data)
  return path


def header(shape, descr="|u1"):
  return {"descr": descr, "fortran_order": False, "shape": shape}


@pytest.mark.parametrize(
  "given, body",
  [
    (header((1 << 40, 32, 32, 3)), b""),
    (header((1 << 62, 1 << 62)), b""),
    (header((-1,)), b""),
    (header((4,)), b"abc"),
    (header((3,), "|O"), b"cos\nsystem\n(S'touch it_ran'\ntR."),
    (header((3,), "no type"), b"abc"),
    (header(("3",)), b"abc"),
    ({}, b""),
    (["("] * 5000, b""),
  ],
)
def test_arrays_that_lie_are_refused(given, body, tmp_path):
  path = with_header(tmp_path / "a.npz", given, body)
  with pytest.raises(ValueError, match="a.npz") as error:
    files.read_arrays(path)
  assert "pickle" not in str(error.value) and "\n" not in str(error.value)
  with pytest.raises(ValueError, match="cannot be used"):
    array_source.npz(path)


def test_arrays_are_read_as_numpy_reads_them(tmp_path):
  given = dict(
    a=np.arange(6).reshape(2, 3), b=np.asfortranarray(np.ones((3, 2), "f")),
    c=np.array("x"), d=np.zeros((0, 4)), e=np.array(["ab", "c"]),
  )  # fmt: skip
  found = files.read_arrays(npz(tmp_path / "a.npz", **given))
  for name, value in given.items():
    np.testing.assert_array_equal(found[name], value, strict=True)
  found["a"][0, 0] = 9  # They are the reader's own.
  assert list(files.read_arrays(tmp_path / "a.npz", {"b", "z"})) == ["b"]


def test_arrays_that_unpack_to_too_much(tmp_path, monkeypatch):
  monkeypatch.setattr(files, "_MOST_RATIO", 1)
  monkeypatch.setattr(files, "_LEAST_BYTES", 1000)
  np.savez_compressed(tmp_path / "a.npz", a=np.zeros(10_000_000, np.uint8))
  with pytest.raises(ValueError, match="unpacks to more than"):
    files.read_arrays(tmp_path / "a.npz")


# Lists.

DEEP = "[" * 100_000


@pytest.mark.parametrize(
  "text", ["", "{", DEEP, '{"train": ' + DEEP, "9" * 5000, "\x00"]
)
def test_lists_that_are_no_json(text, tmp_path):
  path = tmp_path / "list.json"
  path.write_text(text)
  for read in (
    files.read_json,
    split_files._read,
    lambda p: relabeling.real_labels(p, [], num_classes=3),
  ):
    with pytest.raises(ValueError, match="list.json") as error:
      read(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize(
  "value", [[], {}, {"train": 3}, {"train": "abc"}, {"train": [["a", 1]]}, 7]
)
def test_splits_of_another_form(value, tmp_path):
  path = tmp_path / "split.json"
  path.write_text(json.dumps(value))
  with pytest.raises(ValueError, match="split.json"):
    split_files._read(path)


# Studies with people.

KEYS = {
  "nothing": lambda key: key.clear(),
  "no trials": lambda key: key.update(trials=[]),
  "trials by name": lambda key: key.update(trials={"a": 1}),
  "a trial twice": lambda key: key["trials"].append(key["trials"][0]),
  "an answer not offered": lambda key: key["trials"][0].update(answer=99),
  "no choices": lambda key: key["trials"][0].update(choices=None),
  "no conditions": lambda key: key.update(conditions=[]),
  "conditions too short": lambda key: key.update(conditions=["A"]),
  "conditions of C": lambda key: key.update(
    conditions=["C" * len(key["trials"])]
  ),
  "extras that are a number": lambda key: key.update(extras=3),
  "a study that is a list": lambda key: key.update(study=[]),
}


def session(key):
  """All answers of participant 1."""
  return {
    "study": key["study"],
    "participant": 1,
    "responses": [
      {
        "trial": trial["name"], "condition": condition, "choice": 0,
        "seconds": 1.5,
      }
      for trial, condition in zip(
        key["trials"], key["conditions"][0], strict=True
      )
    ],
  }  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_a_key_of_another_form(name, tmp_path):
  key = json.loads(json.dumps(make().key()))
  path = tmp_path / "1.json"
  path.write_text(json.dumps(session(key)))
  assert len(responses.read_responses([path], key)) == 8
  KEYS[name](key)
  with pytest.raises(ValueError, match="no key of a study"):
    responses.read_responses([path], key)


ANSWERS = {
  "a trial that is a list": lambda s: s["responses"][0].update(trial=[]),
  "a trial that is a number": lambda s: s["responses"][0].update(trial=1),
  "a condition that is an object": lambda s: s["responses"][0].update(
    condition={}
  ),
  "a choice without end": lambda s: s["responses"][0].update(choice="9" * 5000),
  "a choice that is half": lambda s: s["responses"][0].update(choice=0.5),
  "seconds without end": lambda s: s["responses"][0].update(seconds="inf"),
  "seconds that are huge": lambda s: s["responses"][0].update(seconds=10**400),
  "no number of seconds": lambda s: s["responses"][0].update(seconds="nan"),
  "a participant of 30 digits": lambda s: s.update(participant=10**30),
  "a participant that is none": lambda s: s.update(participant=None),
  "responses by name": lambda s: s.update(responses={}),
  "a study that is a list": lambda s: s.update(study=[]),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_of_another_form(name, tmp_path):
  key = make().key()
  content, path = session(key), tmp_path / "1.json"
  ANSWERS[name](content)
  path.write_text(json.dumps(content))
  with pytest.raises(ValueError, match="1.json") as error:
    responses.read_responses([path], key)
  assert len(str(error.value)) < 500


@pytest.mark.parametrize(
  "name, data",
  [
    ("1.json", DEEP.encode()),
    ("1.json", b"\xff"),
    ("1.csv", b"\xff"),
    ("1.csv", b"study,participant\n\x00,1\n"),
    ("1.csv", b"study,participant\n" + b"x" * 200_000 + b",1\n"),
    ("1.csv", b""),
  ],
)
def test_files_that_hold_no_answers(name, data, tmp_path):
  path = tmp_path / name
  path.write_bytes(data)
  with pytest.raises(ValueError, match=name):
    responses.read_responses([path], make().key())
  (tmp_path / "folder").mkdir()
  with pytest.raises(ValueError, match="no file of responses"):
    responses.read_responses([tmp_path / "folder"], make().key())
