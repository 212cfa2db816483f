"""A memory of one's own pictures never confuses two of them: ids and classes.

Each test here is a folder as it is in real life, in which pictures were once
lost, doubled, mislabelled or replaced without a word.
"""

import os
import pathlib
import subprocess
import sys

import pytest
from collection_cases import (
  add,
  build,
  held,
  paint,
)

from visual_memory.cli import main as cli
from visual_memory.collection import (
  ingest,
  meant_rows,
  plan,
)
from visual_memory.store.errors import StoreError, StoreLocked
from visual_memory.store.storage import state


def test_different_pictures_of_one_relative_name_are_all_there(tmp_path):
  names = ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg")
  for number, folder in enumerate("abc"):
    seeds = {name: 10 * number + k for k, name in enumerate(names)}
    paint(tmp_path / folder, seeds)
  store, _ = build(tmp_path / "m", tmp_path / "a")
  for folder in "bc":
    assert add(store, tmp_path / folder).num_added == 3
  assert len(store) == 9 and set(names) < set(store.ids)
  assert {"b/cat/1.jpg", "c/cat/1.jpg"} < set(store.ids)
  assert sorted(held(store).values()) == ["cat"] * 6 + ["dog"] * 3
  for folder in "abc":  # And each folder is known again.
    report = add(store, tmp_path / folder)
    assert (report.num_added, report.num_present) == (0, 3)


def test_with_a_class_named_a_bare_file_name_hides_no_other(tmp_path):
  for trip in (1, 2, 3):
    paint(tmp_path, {f"trip{trip}/DCIM/IMG_1.jpg": trip})
  first = tmp_path / "trip1/DCIM/IMG_1.jpg"
  store, _ = build(tmp_path / "m", first, class_name="us")
  for trip in (2, 3):
    image = tmp_path / f"trip{trip}/DCIM/IMG_1.jpg"
    assert add(store, image, class_name="us").num_added == 1
  assert list(store.ids) == [
    "IMG_1.jpg",
    "DCIM/IMG_1.jpg",
    "trip3/DCIM/IMG_1.jpg",
  ]
  assert meant_rows.find(store, [str(tmp_path / "trip2/DCIM/IMG_1.jpg")]) == [
    "DCIM/IMG_1.jpg"
  ]


def test_ids_and_classes_stay_when_a_second_top_folder_appears(tmp_path):
  top = paint(tmp_path / "top", {"pets/cat/0.jpg": 0, "pets/dog/0.jpg": 1})
  store, _ = build(tmp_path / "m", top)
  before = held(store)
  assert before == {"cat/0.jpg": "cat", "dog/0.jpg": "dog"}
  paint(top, {"wild/fox/0.jpg": 2})
  report = add(store, top)
  assert (report.num_added, report.num_present) == (1, 2)
  assert held(store) == {**before, "wild/fox/0.jpg": "fox"}
  chosen = meant_rows.find(store, ["pets/cat/0.jpg"])
  _, removed = meant_rows.forget(store, chosen)
  assert removed == ["cat/0.jpg"] and "cat/0.jpg" not in store.ids


def test_a_class_keeps_its_name_when_another_folder_bears_it(tmp_path):
  top = paint(tmp_path / "top", {"x/cat/0.jpg": 0, "x/dog/0.jpg": 1})
  store, _ = build(tmp_path / "m", top)
  paint(top, {"y/cat/1.jpg": 2})
  report = add(store, top)
  assert held(store)["y/cat/1.jpg"] == "cat"
  assert store.class_names == ("cat", "dog")
  assert any("--class-level path" in line for line in report.remarks())


def test_what_class_folders_mean_is_said_with_the_flag_that_decides(tmp_path):
  top = paint(tmp_path / "top", {"x/cat/0.jpg": 0, "y/cat/0.jpg": 1})
  store, report = build(tmp_path / "m", top)
  assert store.class_names == ("x/cat", "y/cat")
  assert any("--class-level last" in line for line in report.remarks())
  one, _ = build(tmp_path / "one", top, class_level="last")
  assert one.class_names == ("cat",) and len(one) == 2
  deep = paint(tmp_path / "deep", {"dog/0.jpg": 0, "dog/best/1.jpg": 1})
  store, report = build(tmp_path / "two", deep)
  assert set(held(store).values()) == {"dog", "best"}
  assert any("--class-level 1" in line for line in report.remarks())
  store, report = build(tmp_path / "three", deep, class_level="1")
  assert set(held(store).values()) == {"dog"} and not report.plan.notes
  paint(deep, {"dog/worst/2.jpg": 2})  # Decided once.
  add(store, deep)
  assert set(held(store).values()) == {"dog"}


@pytest.mark.parametrize(
  "names",
  [("Training", "Validation"), ("Train", "Test"), ("training_set", "valid")],
)
def test_splits_are_no_classes_whatever_their_spelling(tmp_path, names):
  files = {
    f"{s}/{c}/0.jpg": 10 * k + ord(c) for k, s in enumerate(names) for c in "ab"
  }
  top = paint(tmp_path / "top", files)
  with pytest.raises(ValueError, match="--split"):
    build(tmp_path / "m", top)
  store, _ = build(tmp_path / "m", top, split=names[0].lower())
  assert held(store) == {f"{names[0]}/{c}/0.jpg": c for c in "ab"}
  assert add(store, top).num_added == 0  # Which split was decided once.
  paint(tmp_path / "odd", {"train/a/0.jpg": 0, "bus/1.jpg": 1})
  _, report = build(tmp_path / "n", tmp_path / "odd")
  assert any("--split train" in line for line in report.remarks())


def test_a_memory_of_an_earlier_version_says_what_to_do(tmp_path, capsys):
  top = paint(tmp_path / "top", {"a/0.png": 0, "b/0.png": 1})
  store, _ = build(tmp_path / "m", top)
  about = {k: v for k, v in store.attributes.items() if k != "pruning"}
  options = {"path": str(top), "split": None}
  store.describe(
    {**about, "origins": [{"name": "folder", "options": options, "prefix": ""}]}
  )
  store.annotate(list(store.ids), [{"origin": 0}] * 2)
  run = lambda *words: cli.main([*words, "-s", store.path])
  for words in (("add", str(top)), ("rebuild", "-e", "pixels"),
                ("relocate", str(top), str(top))):  # fmt: skip
    assert run(*words) == 1
    says = capsys.readouterr().err
    assert f"visual-memory build {top} --store" in says, says
    assert says.count("\n") <= 2
  # It answers, and may be edited.
  assert run("classify", str(top / "a/0.png"), "-k", "1") == 0
  assert run("info") == 0 and "earlier version" in capsys.readouterr().out
  assert run("explain", str(top / "a/0.png"), "--no-open",
             "-o", str(tmp_path / "why.html")) == 0  # fmt: skip
  assert run("relabel", "a/0.png", "--to", "c") == 0
  assert run("remove", "a/0.png", "--yes") == 0 and len(store) == 1


def test_two_builds_at_once_the_second_stops_before_it_works(tmp_path):
  top = paint(tmp_path / "top", {"a/0.jpg": 0})
  program = (
    "import sys\n"
    "from visual_memory.collection import ingest\n"
    "with ingest.alone(sys.argv[1]):\n"
    "  print('held', flush=True)\n"
    "  sys.stdin.read()\n"
  )
  with subprocess.Popen(
    [sys.executable, "-c", program, str(tmp_path / "m")],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    cwd=pathlib.Path(__file__).parents[1],
    text=True,
  ) as other:
    assert other.stdout.readline() == "held\n"
    with pytest.raises(StoreLocked, match="at work"):
      build(tmp_path / "m", top)
    other.communicate("")
  store, _ = build(tmp_path / "m", top)
  with ingest.alone(tmp_path / "m"):
    with pytest.raises(StoreLocked, match="at work"):
      add(store, top)
  with pytest.raises(StoreError, match="already"):
    build(tmp_path / "m", top)


def test_a_dry_run_changes_nothing(tmp_path):
  top = paint(tmp_path / "top", {"a/0.jpg": 0, "a/1.jpg": 1})
  store, report = build(tmp_path / "m", top, dry_run=True)
  assert store is None and report.num_added == 2
  assert not os.path.exists(tmp_path / "m")
  store, _ = build(tmp_path / "m", top)
  generation = store.contents.generation
  paint(top, {"a/2.jpg": 2, "a/1.jpg": 9})
  report = add(store, top, dry_run=True, update=True)
  assert (report.num_added, report.num_updated) == (1, 1)
  assert store.contents.generation == generation


def test_a_small_memory_is_small(tmp_path):
  top = paint(tmp_path / "top", {f"a/{i}.jpg": i for i in range(36)})
  store, _ = build(tmp_path / "m", top)
  assert store.contents.rows_per_chunk == 256
  whole = sum(
    f.stat().st_size for f in (tmp_path / "m").rglob("*") if f.is_file()
  )
  rows = 256 * 4 * store.contents.dim
  assert whole - rows + 256 * 4 * 384 < 1e6  # With the shipped encoder's D.


@pytest.mark.parametrize("name", ['é \\ "1".jpg', "1.jpg"])
def test_adding_one_picture_reads_no_record_of_others(
  tmp_path, monkeypatch, name
):
  """And judges it as it would with all of them."""
  there = {f"{c}/{n}.jpg": 10 * ord(c) + n for c in "ab" for n in range(4)}
  paint(tmp_path / "top", there | {f"b/{name}": 50})
  store, _ = build(tmp_path / "m", tmp_path / "top")
  loose = paint(
    tmp_path / "loose",
    # One of the name of another one, and one of its content.
    {"new.jpg": 60, name: 61, "copy.jpg": 50, "again.jpg": 51},
  )
  add(store, loose / "again.jpg", class_name="a")
  paint(tmp_path / "top", {"a/2.jpg": 62})  # Changed.
  os.rename(tmp_path / "top/a/3.jpg", loose / "moved.jpg")
  parsed = []
  whole = state.State.metadata

  def metadata(self, slots):
    parsed.extend(slots)
    return whole(self, slots)

  monkeypatch.setattr(state.State, "metadata", metadata)
  statuses = []
  for path in (
    loose / "new.jpg", loose / name, loose / "copy.jpg", loose / "again.jpg",
    tmp_path / "top/a/2.jpg", loose / "moved.jpg",
  ):  # fmt: skip
    told = []
    for most in (8, 0):
      monkeypatch.setattr(plan, "_FEW", most)
      parsed.clear()
      told.append(add(store, path, class_name="a", dry_run=True).to_dict())
      told[-1].pop("origins")
      assert len(parsed) <= (2 if most else len(store))
    assert told[0] == told[1]
    statuses.append(
      [k for k in ("moved", "copies", "changed") if told[0][k]]
      or [k for k in ("added", "already_there") if told[0][k]]
    )
  assert sum(statuses, []) == [
    "added", "added", "copies", "already_there", "changed", "moved",
  ]  # fmt: skip
