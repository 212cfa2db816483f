"""Weights from a stranger: nothing runs, nothing stays, nothing is dear."""

import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch_files

from visual_memory.encoders.published import inert_pickle, torch_pickle

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}


def hostile(path, body, *, entries=None, compression=zipfile.ZIP_STORED):
  """A PyTorch file with this pickle."""
  with zipfile.ZipFile(path, "w", compression) as archive:
    archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
    for name, data in (entries or {}).items():
      archive.writestr(f"archive/{name}", data)


def text(value):
  raw = value.encode()
  return b"X" + struct.pack("<I", len(raw)) + raw


def shared_dicts(levels):
  """Each level holds the one below it twice: 2^levels ways to the bottom."""
  body = b"}" + text("x") + storage() + b"s"
  for level in range(levels):
    put = b"r" + struct.pack("<I", level)
    get = b"j" + struct.pack("<I", level)
    body += put + b"0}(" + text("l") + get + text("r") + get + b"u"
  return body


def storage(key="0", count=6):
  return (
    b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key)
    + text("cpu") + b"J" + struct.pack("<i", count) + b"tQ"
  )  # fmt: skip


def tensor(shape, strides):
  numbers = lambda values: (
    b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"
  )
  return (
    b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + b"K\x00"
    + numbers(shape) + numbers(strides) + b"\x89N" + b"tR"
  )  # fmt: skip


def nested_tuples(depth):
  return b")" + b"\x85" * depth


LONG = "n" * 500_000

HOSTILE = {
  "a memo of 2^28 places": b"}r\xff\xff\xff\x0f",
  "a number of 2^31 bytes": b"}X\x01\x00\x00\x00a\x8b\xff\xff\xff\x7fs",
  "a text of 2^63 bytes": b"\x8d" + b"\xff" * 7 + b"\x7f",
  "dicts shared at 60 levels": shared_dicts(60),
  "a dict within itself": b"}q\x00" + text("x") + b"h\x00s",
  "a key of 20,000 tuples": b"}" + nested_tuples(20_000) + b"Ns",
  "a long name over many": (
    b"}" + text(LONG) + b"}(" + b"".join(
      text(str(n)) + (storage() + b"q\x01" if not n else b"h\x01")
      for n in range(1000)
    ) + b"us"
  ),
  "a tensor that repeats one value": b"}" + text("x")
  + tensor((1 << 15, 1 << 15), (0, 0)) + b"s",
  "state of a function": b"ctorch._utils\n_rebuild_parameter\n}"
  + text("__doc__") + b"K\x01sb",
  "attributes of a type": b"ctorch\nFloatStorage\n}" + text("x") + b"K\x01sb",
  "an extension of the registry": b"\x82\x01",
  "a set": b"\x8f",
  "a mark too few": b"}u",
  "nothing": b"",
  "two values": b"}}",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_fails_soon_and_small(name, tmp_path):
  path = tmp_path / "model.pth"
  hostile(path, HOSTILE[name], entries={"data/0": np.zeros(6, "f").tobytes()})
  documented = torch_pickle._same.__doc__
  tracemalloc.start()
  begun = time.process_time()
  try:
    found = torch_pickle.read(path)
  except ValueError as error:
    assert str(path) in str(error) and len(str(error)) < 800
  else:
    assert name == "a memo of 2^28 places" and found == {}
  seconds, (_, peak) = (
    time.process_time() - begun,
    (tracemalloc.get_traced_memory()),
  )
  tracemalloc.stop()
  # Bounds of an exhausted machine, not of speed: unbounded, each takes for
  # ever or all memory.
  assert peak < 200e6 and seconds < 600
  assert torch_pickle._same.__doc__ == documented


def test_entries_are_read_once_and_whole(tmp_path):
  data = np.arange(6, dtype=np.float32).tobytes()
  twice = b"}(" + text("a") + storage() + text("b") + storage() + b"u"
  hostile(tmp_path / "twice.pth", twice, entries={"data/0": data})
  found = torch_pickle.read(tmp_path / "twice.pth")
  assert np.shares_memory(found["a"], found["b"])
  hostile(
    tmp_path / "packed.pth", twice, entries={"data/0": data},
    compression=zipfile.ZIP_DEFLATED,
  )  # fmt: skip
  with pytest.raises(ValueError, match="compressed, which PyTorch never does"):
    torch_pickle.read(tmp_path / "packed.pth")


def test_entries_that_lie_over_each_other_are_counted(tmp_path):
  """One megabyte that two thousand entries of the directory point to."""
  path, count = tmp_path / "over.pth", 2000
  data = bytes(1 << 20)
  body = b"}(" + b"".join(
    text(str(n)) + storage(str(n), len(data) // 4) for n in range(count)
  ) + b"u"  # fmt: skip
  hostile(path, body, entries={"data/0000": data})
  with zipfile.ZipFile(path, "a") as archive:
    first = archive.getinfo("archive/data/0000")
    for n in range(count):
      copy = zipfile.ZipInfo(f"archive/data/{n}")
      for field in ("header_offset", "CRC", "compress_size", "file_size"):
        setattr(copy, field, getattr(first, field))
      archive.filelist.append(copy)
      archive.NameToInfo[copy.filename] = copy
    archive._didModify = True
  with pytest.raises(ValueError, match="download it again"):
    torch_pickle.read(path)


def test_two_tensors_of_one_name(tmp_path):
  body = (
    b"}(" + text("a.b") + storage() + text("a") + b"}" + text("b") + storage()
    + b"su"
  )  # fmt: skip
  hostile(tmp_path / "m.pth", body, entries={"data/0": bytes(24)})
  with pytest.raises(ValueError, match="two tensors of the name a.b"):
    torch_pickle.read(tmp_path / "m.pth")


def test_what_is_read_is_what_was_written(tmp_path):
  torch_files.write_pth(tmp_path / "m.pth", TENSORS)
  found = torch_pickle.read(tmp_path / "m.pth")
  np.testing.assert_array_equal(found["a"], TENSORS["a"], strict=True)


def test_only_texts_and_numbers_are_keys():
  for key in (1.5, (1,), None, b"a"):
    with pytest.raises(inert_pickle.UnsafeFileError, match="no text"):
      inert_pickle.checked_key(key)


def call(module, name, argument):
  """Opcodes that import a function and call it."""
  body = f"c{module}\n{name}\n(X".encode()
  raw = str(argument).encode()
  return body + len(raw).to_bytes(4, "little") + raw + b"tR0"


@pytest.mark.parametrize(
  ("module", "name"),
  [
    ("os", "system"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("pathlib", "Path"),
    ("torch", "load"),
    ("torch.nn.modules.linear", "Linear"),
    ("numpy", "load"),
    ("visual_memory.encoders.published.torch_pickle", "os"),
  ],
)
def test_a_pickle_with_code_is_refused(module, name, tmp_path):
  path = tmp_path / "model.pth"
  trace = tmp_path / "it_ran"
  torch_files.write_pth(
    path, TENSORS, tail=call(module, name, f"touch {trace}")
  )
  with pytest.raises(torch_pickle.UnsafeFileError) as error:
    torch_pickle.read(path)
  assert f"{module}.{name}" in str(error.value) and str(path) in str(
    error.value
  )
  assert not trace.exists()


def test_a_stand_in_cannot_be_turned_into_code(tmp_path):
  # BUILD on a stand-in's class: no attribute takes effect.
  tail = b"c__torch__\nM\n}X\x08\x00\x00\x00childrenK\x01sb0"
  torch_files.write_pth(tmp_path / "model.pth", TENSORS, tail=tail)
  with pytest.raises(torch_pickle.UnsafeFileError, match="sets attributes"):
    torch_pickle.read(tmp_path / "model.pth")


@pytest.mark.parametrize(
  ("offset", "shape", "strides", "message"),
  [
    (0, (5, 5), (5, 1), "beyond its storage of 24 values"),
    (20, (5,), (1,), "beyond its storage of 24 values"),
    (0, (2, 2), (1 << 40, 1), "beyond its storage"),
    (0, (2,), (-1,), "negative"),
    (-1, (2,), (1,), "negative"),
    (0, (2, 2), (1,), "strides that do not fit"),
  ],
)
def test_a_tensor_stays_inside_its_storage(offset, shape, strides, message):
  storage = np.arange(24, dtype=np.float32)
  with pytest.raises(ValueError, match=message):
    torch_pickle._tensor(storage, offset, shape, strides)


def test_views_share_a_storage():
  storage = np.arange(24, dtype=np.float32)
  view = torch_pickle._tensor(storage, 2, (3, 2), (1, 4))
  np.testing.assert_array_equal(view, [[2, 6], [3, 7], [4, 8]])
  assert torch_pickle._tensor(storage, 0, (0, 3), (3, 1)).shape == (0, 3)
