"""Files of weights from a stranger: safetensors, and the index of their parts.

Whatever a header declares, nothing is read but the file, nothing is reserved
that it does not hold, and there is either one sentence or the right tensors.
"""

import json
import os
import random
import struct
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from visual_memory.encoders.published import params, places

TENSORS = {
  "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
  "a.bias": np.arange(3, dtype=np.float16),
}
MOST_BYTES = 4 << 20


@pytest.fixture
def sound(tmp_path):
  """A file's header and its data."""
  save_file(TENSORS, tmp_path / "sound.safetensors")
  data = (tmp_path / "sound.safetensors").read_bytes()
  (length,) = struct.unpack_from("<Q", data)
  return json.loads(data[8 : 8 + length]), data[8 + length :]


def written(path, header, data, *, length=None):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  length = len(text) if length is None else length
  path.write_bytes(struct.pack("<Q", length) + text + data)
  return path


def with_field(**fields):
  return lambda header: {**header, "a.weight": {**header["a.weight"], **fields}}


LIES = {
  "offsets beyond the end": with_field(data_offsets=[0, 10**12]),
  "offsets of nothing": with_field(data_offsets=[10**12, 10**12 + 48]),
  "negative offsets": with_field(data_offsets=[-8, 40]),
  "offsets the other way": with_field(data_offsets=[48, 0]),
  "an offset too many": with_field(data_offsets=[0, 4, 48]),
  "offsets that are words": with_field(data_offsets=["0", "48"]),
  "offsets over another's": with_field(data_offsets=[2, 50]),
  "a larger shape": with_field(shape=[3, 5]),
  "a huge shape": with_field(shape=[2**40, 2**40]),
  "a shape that overflows": with_field(shape=[2**62, 4]),
  "a negative shape": with_field(shape=[-3, -4]),
  "a shape of fractions": with_field(shape=[1.5, 8]),
  "another type": with_field(dtype="F64"),
  "an unknown type": with_field(dtype="F7"),
  "no type": lambda header: {**header, "a.weight": {"shape": [3, 4]}},
  "a list": lambda header: [header],
  "a number": lambda header: 7,
  "a tensor that is none": lambda header: {**header, "b": 7},
  "bytes of no tensor": lambda header: {"a.bias": header["a.bias"]},
  "metadata that is no text": lambda h: {**h, "__metadata__": {"a": [1]}},
  "no JSON": lambda header: b"{" * 100,
  "deep JSON": lambda header: b"[" * 100_000,
  "no UTF-8": lambda header: b'{"\xff": 1}',
  "nothing": lambda header: b"",
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused_in_a_sentence(sound, tmp_path, lie):
  header, data = sound
  path = written(tmp_path / "model.safetensors", LIES[lie](header), data)
  assert_refused(path)


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**40, 2**63, 2**64 - 1])
def test_a_header_of_another_length_is_refused(sound, tmp_path, length):
  header, data = sound
  path = tmp_path / "model.safetensors"
  assert_refused(written(path, header, data, length=length))


def assert_refused(path):
  """One sentence about the file, and next to no memory."""
  tracemalloc.start()
  try:
    with pytest.raises(ValueError) as caught:
      params.read(path)
    assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
  finally:
    tracemalloc.stop()
  says = str(caught.value)
  assert path.name in says and "\n" not in says and len(says) < 500


def test_of_a_mutated_file_nothing_is_read_but_the_file(sound, tmp_path):
  header, data = sound
  whole = written(tmp_path / "sound", header, data).read_bytes()
  path = tmp_path / "model.safetensors"
  for seed in range(400):
    rng = random.Random(seed)
    changed = bytearray(whole)
    for _ in range(rng.choice([1, 1, 2, 8])):
      changed[rng.randrange(len(changed))] = rng.randrange(256)
    path.write_bytes(changed[: rng.choice([len(changed)] * 4 + [99])])
    try:
      found = params.read(path)
    except ValueError as error:
      assert "\n" not in str(error)
      continue
    assert sum(value.nbytes for value in found.values()) <= len(whole)


def test_numbers_of_every_type_are_read(tmp_path):
  """Also those that NumPy alone does not know."""
  path = tmp_path / "model.safetensors"
  header = {"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
  written(path, header, struct.pack("<HH", 0x3F80, 0xC000))
  assert params.read(path)["x"].astype(np.float32).tolist() == [1.0, -2.0]


@pytest.mark.parametrize(
  "shards, says",
  [
    (["../secret.safetensors"], "points outside"),
    (["/etc/passwd"], "points outside"),
    (["..\\secret.safetensors"], "points outside"),
    ([".."], "lacks"),
    (["secret\0.safetensors"], "lacks"),
    ([""], "lacks"),
    ([7], "points outside|damaged"),
    ([["model-1.safetensors"]], "damaged"),
    (["absent.safetensors"], "lacks"),
    (["model.safetensors.index.json"], "model.safetensors.index.json"),
    (["model-1.safetensors", "twice.safetensors"], "has the tensor 'a.bias'"),
    (None, "damaged"),
  ],
)
def test_an_index_names_no_file_but_its_parts(tmp_path, shards, says):
  folder = tmp_path / "repository"
  folder.mkdir()
  for name in ("model-1", "twice"):
    save_file(TENSORS, folder / f"{name}.safetensors")
  save_file(TENSORS, tmp_path / "secret.safetensors")
  weight_map = {} if shards is None else dict(enumerate(shards))
  index = {"weight_map": weight_map} if shards is not None else {}
  text = json.dumps(index)
  (folder / "model.safetensors.index.json").write_text(text)
  with pytest.raises(ValueError, match=says) as caught:
    params.read(folder)
  assert "\n" not in str(caught.value)


def test_the_parts_of_an_index_are_one_checkpoint(tmp_path):
  first, second = ({n: v} for n, v in TENSORS.items())
  save_file(first, tmp_path / "model-1.safetensors")
  save_file(second, tmp_path / "model-2.safetensors")
  weight_map = {"a.weight": "model-1.safetensors"}
  weight_map["a.bias"] = "model-2.safetensors"
  (tmp_path / "model.safetensors.index.json").write_text(
    json.dumps({"weight_map": weight_map})
  )
  assert len(places.find_place(tmp_path).weights()) == 2
  found = params.read(os.fspath(tmp_path))
  for name, value in TENSORS.items():
    np.testing.assert_array_equal(found[name], value)
  assert load_file(tmp_path / "model-1.safetensors").keys() == {"a.weight"}
