"""Recordings from a stranger: checked field by field, erased within alone."""

import json
import os

import numpy as np
import pytest

from visual_memory.rerank.recordings import Recordings, image_hash
from visual_memory.rerank.rerank import Answer

IMAGE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
ANSWER = Answer(label=-1, status="empty", text="a cat", attempts=1,
                input_tokens=9, output_tokens=2)  # fmt: skip


@pytest.fixture
def kept(tmp_path):
  """Recordings with one exchange, its key and what it was asked."""
  found = Recordings(tmp_path / "kept")
  key, about = found.key(
    ["What is", IMAGE], api="openai", model="m", parameters={}, repeat=0
  )
  found.put(key, about, ANSWER)
  assert found.get(key, about) == ANSWER
  return found, key, about


def path_of(found):
  return next(found.path.glob("*/*.json"))


def changed(found, change):
  path = path_of(found)
  content = json.loads(path.read_text())
  change(content)
  path.write_text(json.dumps(content))


CHANGES = {
  "a count below zero": lambda c: c["answer"].update(input_tokens=-(10**9)),
  "a count that is a float": lambda c: c["answer"].update(output_tokens=1.5),
  "a count without end": lambda c: c["answer"].update(attempts=float("inf")),
  "a count that is a truth": lambda c: c["answer"].update(attempts=True),
  "a status of its own": lambda c: c["answer"].update(status="right"),
  "a status that is a list": lambda c: c["answer"].update(status=["ok"]),
  "a text that is none": lambda c: c["answer"].update(text=None),
  "a label that is a text": lambda c: c["answer"].update(label="2"),
  "a failure that knows": lambda c: c["answer"].update(
    status="failed", label=2
  ),
  "a field more": lambda c: c["answer"].update(other=1),
  "a field less": lambda c: (
    c["answer"].pop("text") and c["answer"].pop("label")
  ),
  "no answer": lambda c: c.pop("answer"),
  "images that are a text": lambda c: c["about"].update(images="abc"),
  "another question": lambda c: c["about"].update(model="other"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_recording_is_refused_and_goes(name, kept):
  """Who knows what it saw? A removal takes it along, whatever the image."""
  found, key, about = kept
  changed(found, CHANGES[name])
  with pytest.raises(ValueError, match="delete it") as error:
    found.get(key, about)
  assert str(path_of(found)) in str(error.value)
  assert "\n" not in str(error.value)
  assert found.similar(about)
  assert found.drop_images(["0" * 64]) == 1 and len(found) == 0


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b"{",
    b"[" * 100_000,
    b"\xff\xfe",
    b"null",
    b"[1]",
    b"7" * 5000,
    b'"a"',
  ],
)
def test_what_is_no_recording_is_refused_and_goes(data, kept):
  found, key, about = kept
  path_of(found).write_bytes(data)
  with pytest.raises(ValueError, match="cannot be read"):
    found.get(key, about)
  assert found.drop_images([IMAGE]) == 1
  assert found.get(key, about) is None


def test_one_damaged_recording_keeps_no_other_from_going(kept):
  found, key, about = kept
  other, other_about = found.key(
    ["What is", IMAGE[::-1]], api="openai", model="m", parameters={}, repeat=0
  )
  found.put(other, other_about, ANSWER)
  (found.path / "00").mkdir(exist_ok=True)
  (found.path / "00" / f"{'0' * 64}.json").write_text("{")
  assert found.drop_images([IMAGE]) == 2
  assert found.get(key, about) is None
  assert found.get(other, other_about) == ANSWER


def test_what_a_killed_writer_left_goes_too(kept):
  found, _, _ = kept
  left = path_of(found).parent / ".abc.123.tmp"
  left.write_text(path_of(found).read_text())
  assert found.drop_images([IMAGE]) == 2 and not left.exists()


def test_links_are_not_followed(kept, tmp_path):
  """Neither to a file nor to a folder, nor to a file by another name."""
  found, key, about = kept
  precious = tmp_path / "precious.json"
  precious.write_text("mine")
  folder = tmp_path / "elsewhere"
  folder.mkdir()
  (folder / "other.json").write_text("mine, too")
  place = path_of(found).parent
  os.symlink(precious, place / "a.json")
  os.symlink("/dev/zero", place / "b.json")
  os.symlink(folder, found.path / "ff")
  os.link(precious, place / "c.json")
  os.mkfifo(place / "d.json")
  assert found.drop_images([image_hash(IMAGE)]) == 5
  assert precious.read_text() == "mine"
  assert (folder / "other.json").read_text() == "mine, too"
  assert list(place.iterdir()) == []
