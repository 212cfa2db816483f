"""What people ask of a memory, against answers that are known beforehand."""

import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from collection_cases import build, encoder, held, paint, picture_bytes
from PIL import Image

from visual_memory.cli import main as cli
from visual_memory.collection import (
  edit_lists,
  exchange,
  meant_rows,
  pending_edits,
  pruning_factors,
  questions,
)
from visual_memory.collection.answering import Asker
from visual_memory.collection.inputs import open_pictures
from visual_memory.store.store import Store


def tinted(path, channel, seed):
  """A picture of noise that is mostly of one color."""
  pixels = np.random.default_rng(seed).integers(0, 50, (6, 6, 3))
  pixels[..., channel] += 200
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """Red, green and blue pictures; a green one among the red, a gray one."""
  top = tmp_path_factory.mktemp("photos")
  for channel, name in enumerate(("red", "green", "blue")):
    for i in range(8):
      tinted(top / f"{name}/{i}.png", channel, 10 * channel + i)
  tinted(top / "red/wrong.png", 1, 99)
  Image.new("RGB", (6, 6), (128, 128, 128)).save(top / "blue/gray.png")
  data = (top / "red/0.png").read_bytes()
  (top / "red/again.png").write_bytes(data)
  return top


@pytest.fixture
def store(photos, tmp_path):
  return build(tmp_path / "memory", photos)[0]


def asked(store, path, **options):
  pictures, problems, _ = open_pictures([str(path)])
  assert not problems
  return list(Asker(store, **options).answers(pictures))


def test_the_mislabelled_one_is_the_first_suspect(store):
  found = questions.suspects(store)
  assert found[0]["id"] == "red/wrong.png"
  assert (found[0]["class"], found[0]["suggested"]) == ("red", "green")
  assert all(one["margin"] > 0 for one in found)


def test_the_odd_one_out_is_the_first_outlier(store):
  found = questions.outliers(store, limit=3)
  assert found[0]["id"] == "blue/gray.png" and len(found) == 3
  values = [one["similarity"] for one in found]
  assert values == sorted(values)


def test_accuracy_is_that_of_each_row_asked_of_the_others(store):
  found = questions.accuracy(store, k=3, voter="plurality")
  rows = store.embedded()
  similarity = rows.embeddings @ rows.embeddings.T
  np.fill_diagonal(similarity, -2)
  nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :3]
  right = 0
  for row, label in enumerate(rows.labels):
    votes = rows.labels[nearest[row]].tolist()
    most = max(votes.count(v) for v in votes)
    first = next(v for v in votes if votes.count(v) == most)
    right += first == label
  assert (found["right"], found["rows"]) == (right, 26)
  assert found["accuracy"] == pytest.approx(right / 26)
  wrong = sum(c["count"] for c in found["confusions"])
  assert wrong == 26 - right


def test_duplicates_are_files_of_one_content_and_rows_alike(store, photos):
  found = questions.duplicates(store, min_similarity=0.9999)
  assert [group["exact"] for group in found] == [True]
  files = found[0]["members"][0]["files"]
  assert files == [str(photos / "red/0.png"), str(photos / "red/again.png")]
  rows = store.embedded()
  similarity = rows.embeddings @ rows.embeddings.T
  near = questions.duplicates(store, min_similarity=0.97)[1:]
  for group in near:
    members = [list(rows.ids).index(m["id"]) for m in group["members"]]
    for one in members:
      others = [other for other in members if other != one]
      assert similarity[one, others].max() >= 0.97 - 1e-5
  apart = set(range(26)) - {
    list(rows.ids).index(m["id"]) for g in near for m in g["members"]
  }
  np.fill_diagonal(similarity, -2)
  assert all(similarity[one].max() < 0.97 + 1e-5 for one in apart)


def test_similar_pictures_and_rows(store, photos, tmp_path):
  tinted(tmp_path / "new.png", 2, 1000)
  asker = Asker(store)
  pictures, _, _ = open_pictures([str(tmp_path / "new.png")])
  (found,) = questions.similar(asker, pictures, k=3)
  assert [near["class"] for near in found["neighbors"]] == ["blue"] * 3
  (found,) = questions.similar(asker, ids=["red/wrong.png"], k=3)
  assert [near["class"] for near in found["neighbors"]] == ["green"] * 3
  assert "red/wrong.png" not in [near["id"] for near in found["neighbors"]]


def test_what_is_like_nothing_is_unknown(store, tmp_path):
  tinted(tmp_path / "red.png", 0, 1000)
  (answer,) = asked(store, tmp_path / "red.png")
  assert answer["known"] and answer["prediction"] == "red"
  assert answer["best"][0]["class"] == "red" and len(answer["best"]) <= 5
  assert sum(one["probability"] for one in answer["best"]) <= 1 + 1e-6
  meant_rows.forget(store, ["blue/gray.png"])  # Which is like nothing, too.
  checks = np.zeros((6, 6, 3), np.uint8)
  checks[::2, ::2] = 255
  Image.fromarray(checks).save(tmp_path / "checks.png")
  (answer,) = asked(store, tmp_path / "checks.png")
  assert not answer["known"] and answer["prediction"] is None
  (answer,) = asked(store, tmp_path / "checks.png", min_similarity=-1.0)
  assert answer["known"] and answer["prediction"] is not None


def test_pruning_counts_and_keeps_factors_in_the_store(store, tmp_path):
  counts = pruning_factors.look(store, k=4)
  rows = store.embedded()
  similarity = rows.embeddings @ rows.embeddings.T
  np.fill_diagonal(similarity, -2)
  nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :4]
  wrong = np.zeros(len(rows), int)
  for row, label in enumerate(rows.labels):
    for other in nearest[row]:
      wrong[other] += rows.labels[other] != label
  np.testing.assert_array_equal(counts.wrong, wrong)
  assert pruning_factors.factors(store) is None
  assert (
    pruning_factors.discount(store, counts)
    == (wrong > 0).sum() - (1.75 / (1 + wrong) == 1).sum()
  )
  factors = pruning_factors.factors(store)
  expected = np.where(wrong == 0, 1, 1.75 / (1 + wrong))
  np.testing.assert_allclose(factors, expected)
  tinted(tmp_path / "green.png", 1, 77)
  (answer,) = asked(store, tmp_path / "green.png", k=10)
  position = {i: n for n, i in enumerate(rows.ids.tolist())}
  plain = np.array([near["similarity"] for near in answer["neighbors"]])
  plain = np.exp((plain - plain[0]) / 0.07)
  weights = np.array([near["weight"] for near in answer["neighbors"]])
  own = np.array([expected[position[n["id"]]] for n in answer["neighbors"]])
  np.testing.assert_allclose(
    weights / weights[0], plain * own / (plain[0] * own[0]), rtol=1e-3
  )
  pruning_factors.forgive(store)
  assert pruning_factors.factors(store) is None
  most = int(wrong.max())
  _, removed = pruning_factors.prune(store, counts, threshold=most)
  assert sorted(removed) == sorted(rows.ids[wrong == most])


def test_edits_wait_are_undone_and_applied(store, tmp_path):
  put = lambda kind, **given: edit_lists.pend(store, {"kind": kind, **given})
  first = put("remove", ids=["red/wrong.png", "red/1.png"])
  put("relabel", ids=["blue/gray.png"], to="gray")
  put("rename", old="gray", to="grey")  # Which will be there by then.
  last = put("remove", ids=["blue/*"])
  (undone,) = pending_edits.undo(store)
  assert undone["number"] == last and len(undone["ids"]) == 9
  assert put("merge", names=["green"], to="blue") > last > first
  with pytest.raises(KeyError, match="not waiting"):
    pending_edits.take_back(store, last)
  for bad, says in (
    ({"kind": "remove", "ids": ["nobody.png"]}, "not in the memory"),
    ({"kind": "rename", "old": "nothing", "to": "x"}, "no class 'nothing'"),
    ({"kind": "explode"}, "no edit 'explode'"),
  ):
    with pytest.raises(ValueError, match=says):
      edit_lists.pend(store, bad)
  text = open(pending_edits.path_of(store)).read()
  meant_rows.forget(store, ["red/1.png"])  # No file may go on naming it.
  assert "red/1.png" in text
  assert "red/1.png" not in open(pending_edits.path_of(store)).read()
  done = list(edit_lists.apply_pending(store))
  assert [edit["kind"] for edit in done] == [
    "remove", "relabel", "rename", "merge",
  ]  # fmt: skip
  assert done[0]["ids"] == ["red/wrong.png"] and done[0]["receipt"]
  assert held(store)["blue/gray.png"] == "grey" and len(store) == 24
  assert held(store)["green/0.png"] == "blue"
  assert pending_edits.pending(store) == []
  assert not os.path.exists(pending_edits.path_of(store))


def test_a_removal_applied_twice_is_one(store):
  number = edit_lists.pend(store, {"kind": "remove", "ids": ["red/1.png"]})
  (edit,) = pending_edits.pending(store)
  store.remove(["red/1.png"])  # By a process that was killed right after it.
  (done,) = edit_lists.apply_pending(store)
  assert edit["number"] == number and done["gone"] == ["red/1.png"]
  assert done["receipt"] is None and pending_edits.pending(store) == []


def test_threads_and_processes_write_one_list(store):
  script = (
    "import sys; from visual_memory.collection import edit_lists;"
    " from visual_memory.store.store import Store; store = Store.open("
    "sys.argv[1]); [edit_lists.pend(store, {'kind': 'relabel', 'ids':"
    " ['red/2.png'], 'to': f'{i}'}) for i in range(20)]"
  )
  other = subprocess.Popen([sys.executable, "-c", script, store.path])
  for i in range(20):
    edit = {"kind": "relabel", "ids": ["red/1.png"], "to": f"{i}"}
    edit_lists.pend(store, edit)
  assert other.wait() == 0
  edits = pending_edits.pending(store)
  assert len({edit["number"] for edit in edits}) == len(edits) == 40


def test_edits_of_a_file_are_checked_before_the_first_is_made(store, tmp_path):
  saved = tmp_path / "edits.json"
  saved.write_text(  # What the explorer page saves.
    json.dumps({"remove": ["red/2.png"], "relabel": {"red/3.png": "pink"}})
  )
  edits = edit_lists.read_edits(saved)
  assert [edit["kind"] for edit in edits] == ["relabel", "remove"]
  assert len(list(edit_lists.apply(store, edits))) == 2
  assert "red/2.png" not in store.ids and held(store)["red/3.png"] == "pink"
  saved.write_text(json.dumps([{"kind": "remove", "ids": ["red/4.png"]},
                               {"remove": ["red/2.png"]}]))  # fmt: skip
  with pytest.raises(ValueError, match="not in the memory"):
    next(edit_lists.apply(store, edit_lists.read_edits(saved)))
  assert "red/4.png" in store.ids
  for bad in (
    '{"delete": 1}', "[3]", "7", '{"remove": "red"}', '{"relabel": []}',
    '{"relabel": {"a": 3}}', '{"remove": [1]}', '[{"kind": "remove"}]',
  ):  # fmt: skip
    saved.write_text(bad)
    with pytest.raises(ValueError, match="holds no edits"):
      edit_lists.read_edits(saved)


def test_labels_go_through_a_table(store, tmp_path):
  path = tmp_path / "labels.csv"
  assert exchange.write_labels(store, path) == 26
  assert exchange.read_labels(store, path) == {}
  text = path.read_text().replace("red/wrong.png,red", "red/wrong.png,green")
  path.write_text("\ufeff" + text.replace(",", ";"))  # As Excel saves it.
  assert exchange.read_labels(store, path) == {"red/wrong.png": "green"}
  for bad, says in (
    ("id,class\nnobody.png,red\n", "Line 2.*not in"),
    ("id,class\nred/1.png,a\nred/1.png,b\n", "Lines 2 and 3"),
    ("id,class\nred/1.png,\n", "no class"),
    ("name,label\n", "'id' and 'class'"),
  ):
    path.write_text(bad)
    with pytest.raises(ValueError, match=says):
      exchange.read_labels(store, path)


def test_every_command_answers_in_json(store, photos, capsys, tmp_path):
  def run(*words, code=0):
    capsys.readouterr()
    assert cli.main([*words, "--store", store.path, "--json"]) == code
    return json.loads(capsys.readouterr().out)

  assert run("accuracy")["rows"] == 26
  assert run("suspects")[0]["id"] == "red/wrong.png"
  assert run("outliers", "--limit", "2")[1]["class"]
  page = tmp_path / "twins.html"
  assert run("duplicates", "--output", str(page))[0]["exact"]
  text = page.read_text()
  assert text.count("data:image/") >= 1 and "http:" not in text
  assert run("similar", "red/0.png", "-k", "2")[0]["neighbors"]
  assert run("prune", "--dry-run")["rows"] == 26
  assert run("remove", "green/*", "--later")["pending"]
  assert run("pending")["pending"] and run("undo")["undone"]
  assert run("apply")["edits"] == []
  assert run("export", str(tmp_path / "labels.csv"))["rows"] == 26
  assert run("import", str(tmp_path / "labels.csv"))["relabelled"] == {}
  assert run("relabel", str(photos / "red/wrong.png"), "--to", "green")
  assert held(Store.open(store.path))["red/wrong.png"] == "green"
  assert run("remove", "*", "--dry-run")["chosen"]
  assert "--yes" in run("remove", "*", code=1)["error"]
  assert run("remove", "*", "--yes")["rows"] == 0
  assert "empty" in run("classify", str(photos), code=1)["error"]


def test_pictures_come_in_by_archive_pattern_and_standard_input(
  store, photos, tmp_path
):
  archive = tmp_path / "old.zip"
  with zipfile.ZipFile(archive, "w") as file:
    file.writestr("a/1.png", picture_bytes(1))
    file.writestr("readme.txt", "no picture")
  found, problems, left_out = open_pictures(
    [str(archive), str(photos / "red/[01].png"), "", str(photos / "*.gif")]
  )
  assert [i.rsplit("/", 2)[-1] for i in found.ids] == [
    "1.png",
    "0.png",
    "1.png",
  ]
  assert [word for word, _ in problems] == ["", str(photos / "*.gif")]
  assert [path for path, _ in left_out] == ["readme.txt"]
  data = io.BytesIO(picture_bytes(5))
  found, _, _ = open_pictures(["-"], stdin=data)
  assert found[0].image.shape == (6, 6, 3)
  names = io.BytesIO(f"{photos}/red/0.png\n{photos}/red/1.png\n".encode())
  assert len(open_pictures(["-"], stdin=names)[0]) == 2


def test_names_are_shown_on_one_line(tmp_path, capsys):
  long = "x" * 250 + ".png"
  top = paint(tmp_path / "top", {"a\nb/new\nline.png": 0, f"c/{long}": 1})
  store, _ = build(tmp_path / "m", top)
  assert cli.main(["info", "--ids", "--store", store.path]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 2 and "new\\nline.png\ta\\nb" in lines[0]
  assert encoder().fingerprint == store.fingerprint
