"""What a hostile folder, archive, list or table does to the command line."""

import io
import json
import os
import shlex
import sys
import types
import zipfile

import pytest
from collection_cases import add, build, held, paint, picture_bytes

from visual_memory.cli import main as cli
from visual_memory.collection import pending_edits, provenance
from visual_memory.data import contents
from visual_memory.store.store import Store


@pytest.fixture
def photos(tmp_path):
  return paint(
    tmp_path / "photos",
    {"cat/1.png": 1, "cat/2.png": 2, "dog/1.png": 3, "dog/2.png": 4},
  )


@pytest.fixture
def run(photos, tmp_path, capsys):
  """What a command prints; (standard output, standard error)."""
  store = build(tmp_path / "memory", photos)[0]

  def run(*words, code=0):
    words = [*map(str, words)]
    here = [] if "--store" in words else ["--store", store.path]
    assert cli.main([*words, *here]) == code
    return capsys.readouterr()

  run.path = store.path
  return run


def test_names_in_standard_input_are_looked_for_one_by_one(
  photos, run, monkeypatch
):
  there = [str(photos / "cat/1.png"), str(photos / "dog/1.png")]
  names = "\n".join([there[0], "nowhere.png", there[1]]).encode()
  stdin = types.SimpleNamespace(buffer=io.BytesIO(names))
  monkeypatch.setattr(sys, "stdin", stdin)
  answers = json.loads(run("classify", "-", "--json", code=1)[0])
  assert [a["image"] for a in answers] == [*there, "nowhere.png"]
  assert "No such file" in answers[-1]["error"]


def test_a_pipe_is_no_picture_and_nobody_waits_for_it(photos, run):
  pipe = photos / "pipe.png"
  os.mkfifo(pipe)
  for words in (["classify", pipe], ["add", pipe, "--class", "c"]):
    assert "neither a file nor a folder" in run(*words, code=1)[1]
  assert "neither a file nor a folder ('pipe.png')" in run("add", photos)[1]


def test_bytes_that_are_no_utf8_are_named_everywhere(photos, run, tmp_path):
  odd = os.fsdecode(os.fsencode(photos / "cat") + b"/\xff.png")
  with open(odd, "wb") as file:
    file.write(picture_bytes(4711))
  run("add", photos)
  page = tmp_path / "page.html"
  for words in (
    ["classify", odd],
    ["similar", odd],
    ["explain", odd, "--no-open", "--output", page],
    ["remove", odd, "--dry-run"],
  ):
    said = run(*words, "--json")[0]
    assert "/\\xff.png" in str(json.loads(said)).replace("\\\\", "\\")
    assert "\udcff" not in said


def test_a_damaged_archive_is_named_as_one(tmp_path, run):
  for name, data in {"cut.zip": b"PK\x03\x04 cut", "empty.zip": b""}.items():
    (tmp_path / name).write_bytes(data)
    for words in (["classify"], ["add"], ["add", "--class", "c"]):
      said = run(*words, tmp_path / name, code=1)[1]
      assert "readable .zip" in said and "--class NAME" not in said


def test_tables_that_are_none_are_said(tmp_path, run):
  for data, says in (
    (b"id,class\nx,caf\xe9\n", "CSV UTF-8"),
    ("id,class\nx,y\n".encode("utf-16"), "CSV UTF-8"),
    (b"id,class\n" + b"a" * 200_000 + b",x\n", "is no table"),
  ):
    (tmp_path / "labels.csv").write_bytes(data)
    assert says in run("import", tmp_path / "labels.csv", code=1)[1]


@pytest.mark.parametrize("first, second", [("cp932", None), (None, "cp932")])
def test_an_archive_is_read_by_the_encoding_that_was_said(
  tmp_path, first, second
):
  """It is recorded: names stay what they are, and are found again."""
  path = tmp_path / "old.zip"
  with zipfile.ZipFile(path, "w") as archive:
    for name in ("CC", "DD"):
      archive.writestr(f"{name}/1.png", picture_bytes(ord(name[0])))
  data = path.read_bytes().replace(b"CC/", "猫/".encode("cp932"))
  path.write_bytes(data.replace(b"DD/", "犬/".encode("cp932")))
  store, _ = build(tmp_path / "m", path, zip_encoding=first)
  before = held(store)
  report = add(store, path, zip_encoding=second)
  assert not report.num_added and held(store) == before
  if first:
    assert report.num_present == 2 and not report.remarks()
    assert set(before.values()) == {"猫", "犬"}
  sources = provenance.Pictures(provenance.origins_of(store))
  for row_id, record in zip(before, store.metadata([*before]), strict=True):
    assert sources.find(row_id, record) is not None


@pytest.mark.parametrize("moved", [True, False])
def test_the_remedy_for_another_class_works_as_it_is_said(photos, run, moved):
  """Also for a copy, and after the new place was noted."""
  source, goal = photos / "cat/1.png", photos / "dog/it is.png"
  goal.write_bytes(source.read_bytes())
  if moved:
    source.unlink()
  said = (
    run("add", photos, "--update")[1] if not moved else run("add", photos)[1]
  )
  remedy = said.split("`")[1]
  run(*shlex.split(remedy))
  assert held(Store.open(run.path))["cat/1.png"] == "dog"


def test_what_may_not_be_read_or_is_left_out_is_not_called_gone(
  photos, tmp_path, monkeypatch
):
  store, _ = build(tmp_path / "memory", photos)
  scandir, of_file = os.scandir, contents.of_file

  def refuse(call):
    def refused(path, *rest):
      if os.fspath(path).endswith(("photos/cat", "dog/1.png")):
        raise PermissionError(13, "Permission denied", os.fspath(path))
      return call(path, *rest)

    return refused

  with monkeypatch.context() as patched:
    patched.setattr(os, "scandir", refuse(scandir))
    assert add(store, photos).plan.missing == ()
  with monkeypatch.context() as patched:
    patched.setattr(contents, "of_file", refuse(of_file))
    report = add(store, photos, reread=True)
    assert report.plan.missing == () and len(report.plan.left_out) == 1
  assert add(store, photos, exclude=("cat",)).plan.missing == ()
  (photos / "dog/1.png").unlink()
  assert add(store, photos, exclude=("x",)).plan.missing == ("dog/1.png",)


def test_a_memory_without_any_class_answers(photos, run, tmp_path):
  path = build(tmp_path / "bare", photos, flat=True)[0].path
  picture, page = photos / "cat/1.png", tmp_path / "page.html"
  for words in (["classify"], ["explain", "--no-open", "--output", page]):
    said = run(*words, picture, "--json", "--store", path)[0]
    answer = json.loads(said)
    answer = answer[0] if isinstance(answer, list) else answer
    assert answer["prediction"] is None and answer["best"] == []
    assert answer["neighbors"][0]["id"] == "cat/1.png"
  assert "(no class)" in run("classify", picture, "--store", path)[0]


@pytest.mark.parametrize(
  "words", [["remove", "--yes"], ["relabel", "--to", "owl"]]
)
def test_an_id_that_is_another_rows_file_here_is_refused(
  photos, run, tmp_path, monkeypatch, words
):
  """From within `more`, cat/1.png is a row's id and another row's file."""
  paint(tmp_path / "more", {"cat/1.png": 8, "cat/9.png": 9})
  run("add", tmp_path / "more")
  before = held(Store.open(run.path))
  other = next(i for i in before if i.endswith("1.png") and "more" in i)
  monkeypatch.chdir(tmp_path / "more")
  said = run(*words, "cat/1.png", code=1)[1]
  assert f"'{other}': say ./cat/1.png for the file" in said
  assert held(Store.open(run.path)) == before
  monkeypatch.chdir(photos)  # Here it is one and the same.
  run(*words, "cat/1.png")
  monkeypatch.chdir(tmp_path / "more")
  run(*words, "./cat/1.png")
  after = held(Store.open(run.path))
  assert {i for i in before if before[i] != after.get(i)} == {
    "cat/1.png",
    other,
  }


def test_the_memorys_own_field_is_not_a_users(photos, run):
  said = run(
    "add", photos, "--metadata", '{"picture": 1, "license": "CC0"}', code=1
  )[1]
  assert "'picture' is the memory's own" in said


@pytest.mark.parametrize("left", [b"\0" * 300, b""])
def test_a_list_whose_erasing_was_killed_is_empty(run, left):
  """Zeros are written before a file is deleted; here the process ended."""
  store = Store.open(run.path)
  with open(pending_edits.path_of(store), "wb") as file:
    file.write(left)
  assert pending_edits.pending(store) == []
  run("remove", "cat/1.png", "--later")
  assert len(pending_edits.pending(store)) == 1
  run("undo")
  assert not os.path.exists(pending_edits.path_of(store))
